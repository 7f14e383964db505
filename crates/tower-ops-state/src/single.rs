use std::future::{Future, ready};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::participant::{Participant, Refusal};

/// The one participant of a state that is a getter and a restorer.
pub(crate) struct Single<T, G, R> {
    getter: G,
    restorer: R,
    data: PhantomData<fn() -> T>,
}

impl<T, G, R> Single<T, G, R> {
    pub(crate) const fn new(getter: G, restorer: R) -> Self {
        Self {
            getter,
            restorer,
            data: PhantomData,
        }
    }
}

impl<T, G, R> Participant for Single<T, G, R>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    G: Fn() -> T + Send + Sync + 'static,
    R: Fn(T) -> Result<(), Refusal> + Send + Sync + 'static,
{
    type Data = T;

    fn name(&self) -> &'static str {
        "state"
    }

    fn version(&self) -> u32 {
        1
    }

    fn capture(&self) -> impl Future<Output = Result<T, Refusal>> {
        ready(Ok((self.getter)()))
    }

    fn commit(&self, data: T) -> impl Future<Output = Result<(), Refusal>> {
        ready((self.restorer)(data))
    }
}
