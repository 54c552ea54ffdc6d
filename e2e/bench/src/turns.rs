//! Taking turns, so that drift of the machine hits all alike.

/// Measures each subject once per round; the values of each, in the order of `subjects`. Whoever came first in a round
/// comes last in the next one.
pub fn take_turns<S, T>(
    subjects: &[S],
    rounds: usize,
    mut turn: impl FnMut(&S) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<Vec<T>>> {
    let mut all: Vec<Vec<T>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut order: Vec<_> = subjects.iter().zip(&mut all).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (subject, values) in order {
            values.push(turn(subject)?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_back_and_forth() {
        let mut count = 0;
        let all = take_turns(&["a", "b"], 3, |_| {
            count += 1;
            Ok(count)
        });
        assert_eq!(all.expect("no turn fails"), [[1, 4, 5], [2, 3, 6]]);
    }
}
