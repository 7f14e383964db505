use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The gRPC methods that this service is known to have.
///
/// A method becomes known when it is named up front, or when it first answers
/// with what only a method answers: a stream, success, or a code that no guard in
/// front of it gives. A client can ask for any path, but cannot make that happen.
/// The set is bounded all the same, for a proxy that forwards every path, and it
/// is read without a lock: slots are filled once and never cleared.
pub(crate) struct GrpcMethods {
    slots: OnceLock<Box<[OnceLock<Arc<str>>]>>,
    len: AtomicUsize,
    hasher: RandomState,
}

/// At most this many methods are told apart; more are `_OTHER`.
const MAX_METHODS: usize = 1_024;
/// A longer path is no method that anybody registered.
const MAX_METHOD_LEN: usize = 256;

impl GrpcMethods {
    pub(crate) fn new() -> Self {
        Self {
            slots: OnceLock::new(),
            len: AtomicUsize::new(0),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn get(&self, method: &str) -> Option<Arc<str>> {
        let slots = self.slots.get()?;
        for slot in self.probe(slots, method) {
            match slot.get() {
                Some(known) if &**known == method => return Some(Arc::clone(known)),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// Adds a method and returns it; `None` when the set is full.
    pub(crate) fn learn(&self, method: Arc<str>) -> Option<Arc<str>> {
        // Twice as many slots as entries keep every probe short, and leave
        // empty slots for it to end at.
        let slots = self
            .slots
            .get_or_init(|| (0..2 * MAX_METHODS).map(|_| OnceLock::new()).collect());
        for slot in self.probe(slots, &method) {
            if slot.get().is_none() {
                if self.len.fetch_add(1, Ordering::Relaxed) >= MAX_METHODS {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                if slot.set(Arc::clone(&method)).is_ok() {
                    return Some(method);
                }
                // Another thread took the slot: perhaps with this very method.
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            if slot.get().is_some_and(|known| **known == *method) {
                return slot.get().cloned();
            }
        }
        None
    }

    fn probe<'a>(
        &self,
        slots: &'a [OnceLock<Arc<str>>],
        method: &str,
    ) -> impl Iterator<Item = &'a OnceLock<Arc<str>>> + use<'a> {
        let mask = slots.len() - 1;
        let start = usize::try_from(self.hasher.hash_one(method) & mask as u64).unwrap_or(0);
        (0..slots.len()).map(move |step| &slots[(start + step) & mask])
    }
}

/// `package.Service/Method` of a request path, if it has that shape.
pub(crate) fn method_of(path: &str) -> Option<&str> {
    let method = path.strip_prefix('/')?;
    let (service, name) = method.split_once('/')?;
    let fits = !service.is_empty()
        && !name.is_empty()
        && !name.contains('/')
        && method.len() <= MAX_METHOD_LEN;
    fits.then_some(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_paths() {
        assert_eq!(method_of("/a.B/C"), Some("a.B/C"));
        for path in ["/", "//", "/a", "/a/", "//b", "/a/b/c", "a/b", ""] {
            assert_eq!(method_of(path), None, "{path}");
        }
        assert_eq!(method_of(&format!("/a/{}", "x".repeat(300))), None);
    }

    #[test]
    fn learns_each_method_once_up_to_the_bound() {
        let methods = GrpcMethods::new();
        assert!(methods.get("a/0").is_none());
        for n in 0..2 * MAX_METHODS {
            let name = format!("a/{n}");
            assert_eq!(
                methods.learn(name.as_str().into()).is_some(),
                n < MAX_METHODS
            );
            assert_eq!(methods.get(&name).is_some(), n < MAX_METHODS);
        }
        let first = methods.get("a/0").unwrap();
        let again = methods.learn("a/0".into()).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }

    #[test]
    fn threads_agree_on_one_entry() {
        let methods = GrpcMethods::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..200 {
                        assert!(methods.learn(format!("a/{n}").into()).is_some());
                    }
                });
            }
        });
        assert_eq!(methods.len.load(Ordering::Relaxed), 200);
    }
}
