use core::marker::PhantomData;
use core::slice;

use crate::wire::Constituent;
use crate::{DescriptorError, Guest, PageRange};

/// Ranges in the order of a descriptor, of which these may be a part.
#[derive(Clone, Debug)]
pub struct Ranges<'a, Space = Guest> {
    constituents: slice::Iter<'a, Constituent>,
    space: PhantomData<Space>,
}

impl<'a, Space> Ranges<'a, Space> {
    /// For constituents that have been checked.
    #[inline]
    pub(crate) fn new(checked: &'a [Constituent]) -> Self {
        Self { constituents: checked.iter(), space: PhantomData }
    }
}

impl<Space> Iterator for Ranges<'_, Space> {
    type Item = PageRange<Space>;

    #[inline]
    fn next(&mut self) -> Option<PageRange<Space>> {
        self.constituents.next().map(range)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.constituents.size_hint()
    }

    #[inline]
    fn fold<B, F: FnMut(B, PageRange<Space>) -> B>(self, init: B, mut f: F) -> B {
        self.constituents.fold(init, |folded, constituent| f(folded, range(constituent)))
    }
}

impl<Space> ExactSizeIterator for Ranges<'_, Space> {}

#[inline]
fn range<Space>(constituent: &Constituent) -> PageRange<Space> {
    PageRange::from_checked(constituent.address.get(), constituent.page_count.get())
}

/// Checks constituents one by one and gives the sum of their page counts. `first` is the index of the first.
pub(crate) fn each_range(ranges: &[Constituent], first: u32) -> Result<u64, DescriptorError> {
    let mut sum = 0_u64;
    for (index, constituent) in (first..).zip(ranges) {
        let pages = constituent.page_count.get();
        PageRange::<Guest>::new(constituent.address.get(), pages)
            .map_err(|source| DescriptorError::Range { index, source })?;
        let value = constituent.reserved.get();
        if value != 0 {
            return Err(DescriptorError::RangeReserved { index, value });
        }
        sum = sum.saturating_add(u64::from(pages));
    }
    Ok(sum)
}
