//! Which nodes of a graph lead back to themselves.

const UNSEEN: usize = usize::MAX;

/// Gives each node a number: two have the same one exactly if each leads to the other.
///
/// Of each edge there is one look ([Tarjan](https://en.wikipedia.org/wiki/Tarjan%27s_strongly_connected_components_algorithm)),
/// and no call inside a call, however long a path is.
pub(super) fn components(edges: &[Vec<usize>]) -> Vec<usize> {
    let mut component = vec![UNSEEN; edges.len()];
    // When a node was seen, and the earliest one that it is known to lead to.
    let mut order = component.clone();
    let mut earliest = component.clone();
    let mut open = Vec::new();
    let (mut seen, mut found) = (0, 0);
    for start in 0..edges.len() {
        let mut path = Vec::new();
        if order[start] == UNSEEN {
            path.push((start, 0));
        }
        while let Some((at, next)) = path.pop() {
            if next == 0 {
                order[at] = seen;
                earliest[at] = seen;
                seen += 1;
                open.push(at);
            }
            if let Some(&to) = edges[at].get(next) {
                path.push((at, next + 1));
                if order[to] == UNSEEN {
                    path.push((to, 0));
                } else if component[to] == UNSEEN {
                    earliest[at] = earliest[at].min(order[to]);
                }
                continue;
            }
            if earliest[at] == order[at] {
                while let Some(one) = open.pop() {
                    component[one] = found;
                    if one == at {
                        break;
                    }
                }
                found += 1;
            }
            if let Some(&(before, _)) = path.last() {
                earliest[before] = earliest[before].min(earliest[at]);
            }
        }
    }
    component
}

/// Says of each node whether it leads back to itself.
pub(super) fn circles(edges: &[Vec<usize>]) -> Vec<bool> {
    let component = components(edges);
    let mut sizes = vec![0_usize; edges.len()];
    for one in &component {
        sizes[*one] += 1;
    }
    edges
        .iter()
        .enumerate()
        .map(|(at, to)| sizes[component[at]] > 1 || to.contains(&at))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_back_to_itself_is_found() {
        // 0 → 1 ⇄ 2 → 3 → 4 → 3, 5 → 5, and 6 between the two circles of 2 and 3.
        let edges = [
            vec![1],
            vec![2],
            vec![1, 3, 6],
            vec![4],
            vec![3],
            vec![5],
            vec![3],
        ];
        assert_eq!(
            circles(&edges),
            [false, true, true, true, true, true, false]
        );
        let component = components(&edges);
        assert_eq!(component[1], component[2]);
        assert_ne!(component[2], component[3]);
        assert!(circles(&[]).is_empty());
    }

    #[test]
    fn a_long_path_needs_no_stack() {
        let last = 200_000;
        let mut edges: Vec<Vec<usize>> = (0..last).map(|at| vec![at + 1]).collect();
        edges.push(vec![]);
        assert!(!circles(&edges).contains(&true));
        edges[last].push(0);
        assert!(!circles(&edges).contains(&false));
    }
}
