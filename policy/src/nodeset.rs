//! Sets of nodes, as slots of a [`crate::mesh::Mesh`].

/// Sorted slots; with a bit for each slot too once that takes no more room than the slots do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeSet {
    slots: Vec<u32>,
    bits: Vec<u64>,
}

impl NodeSet {
    pub(crate) fn contains(&self, slot: u32) -> bool {
        if self.bits.is_empty() {
            return self.slots.binary_search(&slot).is_ok();
        }
        let word = self.bits.get(slot as usize / 64).copied().unwrap_or(0);
        word >> (slot % 64) & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// In ascending order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.slots.iter().copied()
    }

    fn from_sorted(slots: Vec<u32>) -> Self {
        let words = slots.last().map_or(0, |last| *last as usize / 64 + 1);
        let mut bits = Vec::new();
        if words > 0 && words * 2 <= slots.len() {
            bits = vec![0; words];
            for slot in &slots {
                bits[*slot as usize / 64] |= 1 << (slot % 64);
            }
        }
        Self { slots, bits }
    }

    /// The union, in time that grows with the sizes of the sets and not with the whole mesh.
    pub(crate) fn union<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut sparse, mut dense): (Vec<u32>, Vec<u64>) = (Vec::new(), Vec::new());
        for set in sets {
            if set.bits.is_empty() {
                sparse.extend(&set.slots);
                continue;
            }
            if dense.len() < set.bits.len() {
                dense.resize(set.bits.len(), 0);
            }
            for (into, from) in dense.iter_mut().zip(&set.bits) {
                *into |= from;
            }
        }
        if dense.is_empty() {
            return sparse.into_iter().collect();
        }
        for slot in sparse {
            let word = slot as usize / 64;
            if dense.len() <= word {
                dense.resize(word + 1, 0);
            }
            dense[word] |= 1 << (slot % 64);
        }
        Self::from_sorted(slots_of(&dense))
    }

    pub(crate) fn with(self, slot: u32) -> Self {
        match self.slots.binary_search(&slot) {
            Ok(_) => self,
            Err(at) => {
                let mut slots = self.slots;
                slots.insert(at, slot);
                Self::from_sorted(slots)
            }
        }
    }

    pub(crate) fn without(self, slot: u32) -> Self {
        if !self.contains(slot) {
            return self;
        }
        Self::from_sorted(self.slots.into_iter().filter(|s| *s != slot).collect())
    }
}

fn slots_of(bits: &[u64]) -> Vec<u32> {
    let mut slots = Vec::with_capacity(bits.iter().map(|word| word.count_ones() as usize).sum());
    let mut base = 0;
    for word in bits {
        let mut left = *word;
        while left != 0 {
            slots.push(base + left.trailing_zeros());
            left &= left - 1;
        }
        base += 64;
    }
    slots
}

impl FromIterator<u32> for NodeSet {
    fn from_iter<I: IntoIterator<Item = u32>>(iter: I) -> Self {
        let mut slots: Vec<u32> = iter.into_iter().collect();
        if !slots.is_sorted() {
            slots.sort_unstable();
        }
        slots.dedup();
        Self::from_sorted(slots)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_node_set_is_a_set(
            sets in proptest::collection::vec(proptest::collection::vec(0u32..300, 0..200), 0..4),
            without in 0u32..300,
        ) {
            let expected: BTreeSet<u32> = sets.iter().flatten().copied().collect();
            let sets: Vec<NodeSet> = sets.into_iter().map(|s| s.into_iter().collect()).collect();
            let union = NodeSet::union(&sets);
            prop_assert_eq!(&union.iter().collect::<BTreeSet<_>>(), &expected);
            for slot in 0..300 {
                prop_assert_eq!(union.contains(slot), expected.contains(&slot));
            }
            prop_assert!(union.clone().with(without).contains(without));
            let less = union.without(without);
            prop_assert!(!less.contains(without));
            prop_assert_eq!(&less, &expected.into_iter().filter(|s| *s != without).collect());
        }
    }
}
