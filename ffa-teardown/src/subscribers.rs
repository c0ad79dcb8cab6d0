use bitvec::array::BitArray;
use bitvec::order::Lsb0;
use ffa_abi::{PartitionId, Properties};

/// A set of small numbers: positions in a list of SPs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct SpSet<const WORDS: usize>(BitArray<[u32; WORDS], Lsb0>);

impl<const WORDS: usize> SpSet<WORDS> {
    const fn new() -> Self {
        Self(BitArray::ZERO)
    }

    fn insert(&mut self, position: usize) {
        if let Some(mut bit) = self.0.get_mut(position) {
            *bit = true;
        }
    }

    fn contains(&self, position: usize) -> bool {
        self.0.get(position).is_some_and(|bit| *bit)
    }
}

/// What one SP wants to be told of every VM.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Subscription {
    /// The SP.
    pub sp: PartitionId,
    /// It wants VM_CREATED.
    pub created: bool,
    /// It wants VM_DESTROYED.
    pub destroyed: bool,
}

impl Subscription {
    /// What an SP with these properties, of all its partition information records together, wants; `None` if that is nothing.
    #[must_use]
    pub fn of(sp: PartitionId, properties: Properties) -> Option<Self> {
        let created = properties.contains(Properties::WANTS_VM_CREATED);
        let destroyed = properties.contains(Properties::WANTS_VM_DESTROYED);
        (created || destroyed).then_some(Self { sp, created, destroyed })
    }
}

/// The SPs that want to be told of VMs, each once, in the order in which they were listed: at most 32 × `WORDS`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Subscribers<const WORDS: usize> {
    sps: [[PartitionId; 32]; WORDS],
    len: usize,
    created: SpSet<WORDS>,
    destroyed: SpSet<WORDS>,
}

/// There is no room for another SP.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no room for SP {sp}")]
pub struct TooManySps {
    /// The SP that did not fit.
    pub sp: PartitionId,
}

impl<const WORDS: usize> Subscribers<WORDS> {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { sps: [[PartitionId(0); 32]; WORDS], len: 0, created: SpSet::new(), destroyed: SpSet::new() }
    }

    /// Adds what a partition information record says of `sp`. An SP that is listed under several UUIDs is still
    /// told once.
    ///
    /// # Errors
    /// [`TooManySps`] if the list is full.
    pub fn add(&mut self, sp: PartitionId, properties: Properties) -> Result<(), TooManySps> {
        let Some(Subscription { created, destroyed, .. }) = Subscription::of(sp, properties) else {
            return Ok(());
        };
        let known = self.sps.as_flattened().iter().take(self.len).position(|&listed| listed == sp);
        let position = known.unwrap_or(self.len);
        *self.sps.as_flattened_mut().get_mut(position).ok_or(TooManySps { sp })? = sp;
        self.len = self.len.max(position + 1);
        if created {
            self.created.insert(position);
        }
        if destroyed {
            self.destroyed.insert(position);
        }
        Ok(())
    }

    /// The subscriptions, in order.
    pub fn iter(&self) -> impl Iterator<Item = Subscription> + Clone + '_ {
        self.sps.as_flattened().iter().take(self.len).enumerate().map(|(position, &sp)| Subscription {
            sp,
            created: self.created.contains(position),
            destroyed: self.destroyed.contains(position),
        })
    }
}

impl<const WORDS: usize> Default for Subscribers<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_each_subscriber_once_and_nobody_else() {
        let mut subscribers = Subscribers::<1>::new();
        let (first, second) = (PartitionId(0x8001), PartitionId(0x8002));
        subscribers.add(first, Properties::WANTS_VM_CREATED).unwrap();
        subscribers.add(PartitionId(0x8009), Properties::RECEIVES_DIRECT_REQUESTS).unwrap();
        subscribers.add(second, Properties::WANTS_VM_DESTROYED).unwrap();
        subscribers.add(first, Properties::WANTS_VM_DESTROYED).unwrap();
        assert!(subscribers.iter().eq([
            Subscription { sp: first, created: true, destroyed: true },
            Subscription { sp: second, created: false, destroyed: true },
        ]));
        for id in 0..30 {
            subscribers.add(PartitionId(id), Properties::WANTS_VM_DESTROYED).unwrap();
        }
        let sp = PartitionId(0x8003);
        assert_eq!(subscribers.add(sp, Properties::WANTS_VM_CREATED), Err(TooManySps { sp }));
    }
}
