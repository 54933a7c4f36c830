//! Progress of a call as MCP wants it: each value greater than the one before.

use trunkline_contract::rpc::ToolProgressParams;

/// What a client is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// How far, greater than ever before.
    pub(super) progress: f64,
    /// Of how much, if the tool knows.
    pub(super) total: Option<f64>,
    /// What the tool says about it.
    pub(super) message: Option<String>,
}

/// What was told of one call.
#[derive(Debug, Default)]
pub(super) struct Progress {
    last: Option<f64>,
}

impl Progress {
    /// Takes what a tool reports; `None` if there is nothing new in it.
    ///
    /// A tool may count backwards, stand still or not count at all. What stands still but says something is told as
    /// the next number there is; what does not count is counted by ones.
    pub(super) fn next(&mut self, report: ToolProgressParams) -> Option<Step> {
        let done = report.done.filter(|done| done.is_finite());
        let total = report.total.filter(|total| total.is_finite());
        let progress = match (self.last, done) {
            (None, Some(done)) => done,
            (None, None) => 1.0,
            (Some(last), None) => (last.floor() + 1.0).max(last.next_up()),
            (Some(last), Some(done)) if done > last => done,
            (Some(_), Some(_)) if report.message.is_none() => return None,
            (Some(last), Some(_)) => last.next_up(),
        };
        if !progress.is_finite() {
            return None;
        }
        self.last = Some(progress);
        Some(Step {
            progress,
            total,
            message: report.message,
        })
    }
}
