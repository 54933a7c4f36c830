//! Memory and processor time of processes, as the kernel tells them.

use std::fs;

/// What one process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    pub(super) cpu_seconds: f64,
}

/// Reads what a process uses; none when it is gone.
pub(super) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let page_bytes = rustix::param::page_size() as u64;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    parse(&stat, page_bytes, ticks_per_second)
}

/// Counts the open file descriptors of this process.
pub(super) fn open_fds() -> Option<usize> {
    // The listing itself has one open.
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(open.saturating_sub(1))
}

/// The fields are counted from behind the name, which may hold anything, brackets included.
fn parse(stat: &str, page_bytes: u64, ticks_per_second: u64) -> Option<Usage> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The first of these is field 3 of proc_pid_stat(5).
    let field = |number: usize| rest.split_whitespace().nth(number - 3);
    let number = |at: usize| field(at)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)?;
    Some(Usage {
        resident_bytes: number(24)? * page_bytes,
        cpu_seconds: ticks as f64 / ticks_per_second as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 5 0 1000 9999 \
                    256 18446744073709551615 1 1 0";
        let usage = parse(stat, 4096, 100).unwrap();
        assert_eq!((usage.resident_bytes, usage.cpu_seconds), (256 * 4096, 2.0));
        assert_eq!(parse("42 (x) S 1", 4096, 100), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 1 << 20);
        assert!(open_fds().unwrap() > 2);
    }
}
