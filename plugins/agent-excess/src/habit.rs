//! What one agent does by habit, its servers and its tools, and what one session of it did in the last minutes.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Alarm, DAY, MINUTE, RecentSet, Rule, SlidingSum};

use crate::record::{clipped, is_destructive};
use crate::{Config, rules};

/// Servers and tools remembered of one agent.
const KNOWN_MAX: usize = 256;
/// Distinct calls of one window.
const CALLS_MAX: usize = 128;

/// One call of an agent, as far as habits are of it.
pub struct Call<'a> {
    pub time: i64,
    pub server: Option<&'a str>,
    pub tool: &'a str,
    /// What the tool was given, where the record tells it apart from the rest.
    pub arguments: Option<&'a str>,
    pub failed: bool,
    pub late: bool,
}

/// What is remembered of one agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Agent {
    /// When it was seen first, event time; nothing is new before it is known.
    first: Option<i64>,
    servers: RecentSet,
    tools: RecentSet,
    /// Tools with the server they were called at.
    places: RecentSet,
}

/// What is remembered of one session of an agent. A gateway names an agent by its program, which many people run at once: what they
/// do together is no burst.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Session {
    /// Tools of the last minutes.
    recent: RecentSet,
    burst: Alarm,
    destroyed: SlidingSum,
    rampage: Alarm,
    /// The call that was made last, as a hash, how often in a row, and when it began.
    last: u64,
    times: u64,
    since: i64,
    repeated: Alarm,
}

pub type Found = Vec<(&'static Rule, String)>;

impl Agent {
    /// What the call is against the habit of before, which it joins.
    pub fn judge(&mut self, config: &Config, call: &Call) -> Found {
        let mut found = Found::new();
        let span = config.remember_days.saturating_mul(DAY);
        let first = *self.first.get_or_insert(call.time);
        // A late row may be of the time when all was new.
        let is_known = !call.late && call.time.saturating_sub(first) >= config.learning_days.saturating_mul(DAY);
        let tool = clipped(call.tool);

        let new_tool = self.tools.insert(span, KNOWN_MAX, call.time, call.tool);
        if let Some(server) = call.server {
            let new_server = self.servers.insert(span, KNOWN_MAX, call.time, server).new;
            let new_place = self
                .places
                .insert(span, KNOWN_MAX, call.time, &format!("{server}\n{}", call.tool))
                .new;
            if new_server && is_known {
                found.push((&rules::NEW_SERVER, format!("{} was not used before", clipped(server))));
            }
            // A name that every server has says nothing: the agent has used the tool, and now it is another server's.
            if new_place && !new_tool.new && is_known {
                found.push((
                    &rules::SHADOWED,
                    format!("{tool} is called at {}, too", clipped(server)),
                ));
            }
        }
        if new_tool.new && is_known && new_tool.len < KNOWN_MAX {
            found.push((&rules::NEW_TOOL, format!("{tool} was not called before")));
        }

        found
    }
}

impl Session {
    /// What the call makes of those of the last minutes.
    pub fn judge(&mut self, config: &Config, call: &Call) -> Found {
        let mut found = Found::new();
        let window = config.window_minutes.saturating_mul(MINUTE);
        let tool = clipped(call.tool);
        let distinct = self.recent.insert(window, CALLS_MAX, call.time, call.tool).len as u64;
        if self.burst.rises(distinct, config.tools) {
            found.push((
                &rules::BURST,
                format!("{distinct} tools in {} minutes", config.window_minutes),
            ));
        }
        if is_destructive(call.tool) && !call.failed {
            let sum = self.destroyed.add(window, MINUTE, call.time, 1);
            if self.rampage.rises(sum, config.destructive) {
                found.push((
                    &rules::RAMPAGE,
                    format!("{sum} destructive calls in {} minutes", config.window_minutes),
                ));
            }
        }
        let Some(arguments) = call.arguments else { return found };
        let hash = sentrail_plugin::hash(&format!("{}\n{arguments}", call.tool));
        if hash != self.last || call.time.saturating_sub(self.since) > window {
            (self.last, self.times, self.since) = (hash, 0, call.time);
            self.repeated = Alarm::default();
        }
        self.times += 1;
        if self.repeated.rises(self.times, config.repeats) {
            found.push((
                &rules::LOOP,
                format!(
                    "{tool} was called {} times in a row with the same arguments",
                    self.times
                ),
            ));
        }
        found
    }
}
