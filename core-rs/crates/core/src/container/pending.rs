//! The calls that are to be made now.

use std::collections::vec_deque::{Iter, VecDeque};

use super::host_op::{HostOp, Step};

/// The calls to make on a host now, in order; see [`Container::pending`](super::Container::pending).
///
/// A type with a name, so that `while let Some(op) = container.pending().next()` may report inside its loop.
#[derive(Clone, Debug)]
pub struct Pending<'a>(Iter<'a, Step>);

impl<'a> Pending<'a> {
    pub(super) fn new(steps: &'a VecDeque<Step>) -> Self {
        Self(steps.iter())
    }
}

impl Iterator for Pending<'_> {
    type Item = HostOp;

    #[inline]
    fn next(&mut self) -> Option<HostOp> {
        self.0.next().map(|step| step.op)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Pending<'_> {}

impl core::iter::FusedIterator for Pending<'_> {}
