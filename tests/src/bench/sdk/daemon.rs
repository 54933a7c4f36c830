//! Through the daemon, durable end to end: a client's outbound event, the plugin's answer and receipt, the answer
//! back at the client.
//!
//! Each contestant has a daemon of its own; they are measured in turn.

use super::contestant::{Contestant, Form, Options};
use super::cost;
use crate::bench::echo;
use crate::bench::rig::{Rig, runtime};
use crate::bench::table::Figure;

/// Measures our SDKs.
///
/// # Errors
/// When a daemon does not start or refuses something.
pub fn run(options: &Options, contestants: &[Contestant]) -> anyhow::Result<Vec<Figure>> {
    let usual = if options.quick { 1 } else { 5 };
    let rounds = options.rounds.unwrap_or(usual);
    let count = if options.quick { 300 } else { 20_000 };
    let runtime = runtime()?;
    let mut figures = Vec::new();
    let mut lanes = Vec::new();
    for contestant in contestants.iter().filter(|who| who.is_sdk()) {
        let rig = Rig::start_with(&contestant.words(Form::Echo))?;
        let mut flow = runtime.block_on(echo::Flow::start(&rig))?;
        runtime.block_on(flow.run(count / 4, false))?;
        // Only now it is sure to be there.
        let plugin = cost::children(rig.pid())?;
        lanes.push((contestant, rig, plugin, flow, [vec![], vec![], vec![]]));
    }
    for _ in 0..rounds {
        for (_, rig, plugin, flow, [rates, plugin_us, daemon_us]) in &mut lanes {
            let cpu = || {
                plugin
                    .iter()
                    .map(|pid| cost::cpu_ns(*pid))
                    .sum::<anyhow::Result<u64>>()
            };
            let (plugin_before, daemon_before) = (cpu()?, cost::cpu_ns(rig.pid())?);
            rates.push(runtime.block_on(flow.run(count, false))?);
            let per_event = |ns: u64| ns as f64 / 1e3 / count as f64;
            plugin_us.push(per_event(cpu()? - plugin_before));
            daemon_us.push(per_event(cost::cpu_ns(rig.pid())? - daemon_before));
        }
    }
    for (contestant, _, _, _, [rates, plugin_us, daemon_us]) in &lanes {
        let name = contestant.name;
        let mut push = |what: &str, values: &[f64]| {
            figures.push(Figure::new(
                format!("daemon, durable: {name}, {what}"),
                None,
                values,
            ));
        };
        push("echoes/s", rates);
        push("plugin CPU us/echo", plugin_us);
        push("daemon CPU us/echo", daemon_us);
    }
    Ok(figures)
}
