use std::fmt;
use std::sync::Arc;

use crate::registry::UseError;
use crate::resource::Resource;

/// Identifies a resource of a [`Registry`](crate::Registry). No other resource of the registry ever
/// has the same id: a slot that is used again has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResourceId {
    slot: u32,
    generation: u32,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// Resources in slots that are used again.
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    /// Of the resource that is here, or was last.
    generation: u32,
    resource: Option<Arc<Resource<T>>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert(&mut self, resource: Arc<Resource<T>>) -> ResourceId {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.generation += 1;
            slot.resource = Some(resource);
            return ResourceId {
                slot: index,
                generation: slot.generation,
            };
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 resources");
        self.slots.push(Slot {
            generation: 1,
            resource: Some(resource),
        });
        ResourceId {
            slot: index,
            generation: 1,
        }
    }

    pub(crate) fn get(&self, id: ResourceId) -> Result<Arc<Resource<T>>, UseError> {
        let slot = self.slots.get(id.slot as usize).ok_or(UseError::Unknown)?;
        match &slot.resource {
            Some(resource) if slot.generation == id.generation => Ok(Arc::clone(resource)),
            _ if id.generation <= slot.generation => Err(UseError::Closed),
            _ => Err(UseError::Unknown),
        }
    }

    pub(crate) fn remove(&mut self, id: ResourceId) -> Result<Arc<Resource<T>>, UseError> {
        // Also checks the id, so that the slot exists below.
        self.get(id)?;
        let slot = &mut self.slots[id.slot as usize];
        let resource = slot.resource.take().ok_or(UseError::Closed)?;
        self.vacate(id.slot);
        Ok(resource)
    }

    fn vacate(&mut self, index: u32) {
        // A slot that has used all of its generations is not used again.
        if self.slots[index as usize].generation < u32::MAX {
            self.free.push(index);
        }
    }

    /// Removes the resources that are not in use and for which `due` returns true.
    pub(crate) fn take_unused(
        &mut self,
        due: impl Fn(&Resource<T>) -> bool,
    ) -> Vec<Arc<Resource<T>>> {
        let mut taken = Vec::new();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            // Under the lock, without which nobody gets another reference.
            let take = slot
                .resource
                .take_if(|resource| Arc::strong_count(resource) == 1 && due(resource));
            if let Some(resource) = take {
                taken.push(resource);
                self.vacate(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
        taken
    }

    pub(crate) fn take_all(&mut self) -> Vec<Arc<Resource<T>>> {
        let mut taken = Vec::new();
        for index in 0..self.slots.len() {
            if let Some(resource) = self.slots[index].resource.take() {
                taken.push(resource);
                self.vacate(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
        taken
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ResourceId, &Arc<Resource<T>>)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = ResourceId {
                slot: u32::try_from(index).ok()?,
                generation: slot.generation,
            };
            slot.resource.as_ref().map(|resource| (id, resource))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }
}
