//! What a process costs, as the kernel counts it: processor time of all its threads, resident bytes, descriptors.

use std::fs;

use anyhow::Context;

/// Nanoseconds of processor time of every thread that is alive.
///
/// # Errors
/// When the process is gone.
pub fn cpu_ns(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        if let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) {
            sum += ran_ns(&text)?;
        }
    }
    Ok(sum)
}

/// The same of its main thread alone.
///
/// # Errors
/// When the process is gone.
pub fn main_cpu_ns(pid: u32) -> anyhow::Result<u64> {
    ran_ns(&fs::read_to_string(format!(
        "/proc/{pid}/task/{pid}/schedstat"
    ))?)
}

fn ran_ns(schedstat: &str) -> anyhow::Result<u64> {
    let first = schedstat.split_whitespace().next().context("schedstat")?;
    Ok(first.parse()?)
}

/// Resident bytes now.
///
/// # Errors
/// When the process is gone.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = text.split_whitespace().nth(1).context("statm")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// Resident bytes now, what is shared divided among those who share it.
///
/// # Errors
/// When the process is gone.
pub fn proportional_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .context("Pss")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Most resident bytes since [`forget_peak`].
///
/// # Errors
/// When the process is gone.
pub fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Lets the peak begin again at what is resident now.
///
/// # Errors
/// When the process is gone.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// Open descriptors and threads.
///
/// # Errors
/// When the process is gone.
pub fn descriptors_and_threads(pid: u32) -> anyhow::Result<(usize, usize)> {
    let count = |what| anyhow::Ok(fs::read_dir(format!("/proc/{pid}/{what}"))?.count());
    Ok((count("fd")?, count("task")?))
}

/// The processes that this one started.
///
/// # Errors
/// When the process is gone.
pub fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Ok(text) = fs::read_to_string(thread?.path().join("children")) {
            for child in text.split_whitespace() {
                found.push(child.parse()?);
            }
        }
    }
    Ok(found)
}
