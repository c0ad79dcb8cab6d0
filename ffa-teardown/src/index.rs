use core::num::NonZeroU32;

/// Position of a slot in lent storage, one above its index so that `Option<Index>` needs no room of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Index(NonZeroU32);

impl Index {
    /// `None` for a position that 32 bits cannot name.
    pub(crate) fn new(position: usize) -> Option<Self> {
        u32::try_from(position).ok()?.checked_add(1).and_then(NonZeroU32::new).map(Self)
    }

    pub(crate) const fn get(self) -> usize {
        (self.0.get() - 1) as usize
    }
}

/// Memory that the caller lends: an array, a `&mut` slice, or with an allocator a boxed one.
///
/// Its length never changes while an [`Engine`](crate::Engine) has it.
pub trait Storage<T>: AsRef<[T]> + AsMut<[T]> {}

impl<T, S: AsRef<[T]> + AsMut<[T]>> Storage<T> for S {}
