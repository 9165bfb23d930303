//! The order of calls: each comes after those that it needs.

/// The most calls of which each needs the one before.
const DEPTH: usize = 8;

/// The calls in an order in which each comes after those that it needs, and otherwise as they are written.
///
/// # Errors
/// A circle: calls of which each needs the next, and the last the first.
pub(super) fn order(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(needs.len());
    while order.len() < needs.len() {
        let ready = |call: &usize| !order.contains(call) && needs[*call].iter().all(|need| order.contains(need));
        match (0..needs.len()).find(ready) {
            Some(call) => order.push(call),
            None => return Err(circle(needs, &order)),
        }
    }
    Ok(order)
}

/// A circle among the calls that have no place yet: each of them needs another one of them.
fn circle(needs: &[Vec<usize>], order: &[usize]) -> Vec<usize> {
    let waits = |call: &usize| !order.contains(call);
    let mut way: Vec<usize> = Vec::new();
    let mut next = (0..needs.len()).find(waits);
    while let Some(call) = next {
        if let Some(begin) = way.iter().position(|before| *before == call) {
            return way.split_off(begin);
        }
        way.push(call);
        next = needs[call].iter().copied().find(waits);
    }
    way
}

/// The longest chain of calls of which each needs the one before, if it is too long.
pub(super) fn too_deep(needs: &[Vec<usize>], order: &[usize]) -> Option<Vec<usize>> {
    let mut chains: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for &call in order {
        let longest = needs[call].iter().map(|need| &chains[*need]).max_by_key(|chain| chain.len());
        let mut chain = longest.cloned().unwrap_or_default();
        chain.push(call);
        chains[call] = chain;
    }
    chains.into_iter().max_by_key(Vec::len).filter(|chain| chain.len() > DEPTH)
}
