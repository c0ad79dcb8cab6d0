use ffa_abi::PartitionId;

use crate::wire::{Emad, EmadV1_0, EmadV1_2};
use crate::{Permissions, Receiver};

/// Endpoint memory access descriptors, in the size that the descriptor has. Their permissions have been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Emads<'a> {
    V1_0(&'a [EmadV1_0]),
    V1_2(&'a [EmadV1_2]),
}

impl<'a> Emads<'a> {
    #[inline(always)] // every share comes through here
    pub fn receivers(self) -> Receivers<'a> {
        Receivers(self)
    }
}

/// The receivers that a descriptor names, in its order.
#[derive(Clone, Debug)]
pub struct Receivers<'a>(Emads<'a>);

impl Iterator for Receivers<'_> {
    type Item = Receiver;

    #[inline(always)] // every share comes through here
    fn next(&mut self) -> Option<Receiver> {
        match &mut self.0 {
            Emads::V1_0(emads) => next_receiver(emads),
            Emads::V1_2(emads) => next_receiver(emads),
        }
    }

    #[inline(always)] // every share comes through here
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = match self.0 {
            Emads::V1_0(emads) => emads.len(),
            Emads::V1_2(emads) => emads.len(),
        };
        (len, Some(len))
    }
}

impl ExactSizeIterator for Receivers<'_> {}

#[inline(always)] // every share comes through here
fn next_receiver<E: Emad>(emads: &mut &[E]) -> Option<Receiver> {
    let (emad, rest) = emads.split_first()?;
    *emads = rest;
    let head = emad.head();
    Some(Receiver {
        id: PartitionId(head.receiver.get()),
        permissions: Permissions::from_bits(head.permissions).unwrap_or_default(), // checked by then
        impdef: emad.impdef(),
    })
}
