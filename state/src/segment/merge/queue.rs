//! Which of several inputs is next: a binary heap whose order the caller knows.

/// Numbers of inputs, the first of them at the front.
pub(super) struct Queue(Vec<usize>);

impl Queue {
    /// A queue of these inputs.
    pub(super) fn new(inputs: Vec<usize>, is_before: impl Fn(usize, usize) -> bool) -> Self {
        let mut queue = Self(inputs);
        for at in (0..queue.0.len() / 2).rev() {
            queue.sink(at, &is_before);
        }
        queue
    }

    /// The input that is next.
    pub(super) fn first(&self) -> Option<usize> {
        self.0.first().copied()
    }

    /// The first input has moved on, or has nothing more.
    pub(super) fn settle(&mut self, has_more: bool, is_before: impl Fn(usize, usize) -> bool) {
        if !has_more {
            self.0.swap_remove(0);
        }
        self.sink(0, &is_before);
    }

    fn sink(&mut self, mut at: usize, is_before: &impl Fn(usize, usize) -> bool) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.0.len() {
                return;
            }
            let right_wins = right < self.0.len() && is_before(self.0[right], self.0[left]);
            let least = if right_wins { right } else { left };
            if !is_before(self.0[least], self.0[at]) {
                return;
            }
            self.0.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_in_the_order_of_what_they_have() {
        let inputs: [&[u32]; 6] = [&[5, 9, 9], &[1], &[2, 3, 4, 8], &[7], &[1, 6], &[0, 10]];
        let mut at = [0; 6];
        let before = |at: [usize; 6]| {
            move |a: usize, b: usize| (inputs[a][at[a]], a) < (inputs[b][at[b]], b)
        };
        let mut queue = Queue::new((0..6).collect(), before(at));
        let mut seen = Vec::new();
        while let Some(first) = queue.first() {
            seen.push(inputs[first][at[first]]);
            at[first] += 1;
            let has_more = at[first] < inputs[first].len();
            at[first] = at[first].min(inputs[first].len() - 1);
            queue.settle(has_more, before(at));
        }
        assert_eq!(seen, [0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10]);
    }
}
