//! How far an installation is: a line per finished component, and on a terminal one that says what
//! is waited for.

use std::io::{IsTerminal as _, Write as _};

use ironsail_operator::component::Component;
use ironsail_operator::rollout::Rollout;

use super::style::Style;

/// Width of a line that is overwritten.
const WIDTH: usize = 100;

/// Prints what changed since the last round.
pub struct Progress {
    style: Style,
    live: bool,
    done: Vec<Component>,
}

impl Progress {
    pub fn of_stdout() -> Self {
        Self {
            style: Style::of_stdout(),
            live: std::io::stdout().is_terminal(),
            done: Vec::new(),
        }
    }

    /// Shows one round.
    pub fn show(&mut self, rollout: &Rollout) {
        let (lines, waiting) = self.round(rollout);
        self.clear();
        for line in lines {
            println!("{line}");
        }
        if let (true, Some(waiting)) = (self.live, waiting) {
            let short: String = waiting.chars().take(WIDTH).collect();
            print!("- {short}");
            // A lost line is shown again.
            let _ = std::io::stdout().flush();
        }
    }

    /// Removes what is waited for.
    pub fn clear(&self) {
        if self.live {
            print!("\r\u{1b}[K");
        }
    }

    /// Lines of components that are ready now, and what is waited for.
    fn round(&mut self, rollout: &Rollout) -> (Vec<String>, Option<String>) {
        let mut lines = Vec::new();
        let mut waiting = None;
        for state in &rollout.components {
            let name = state.component;
            let missing = state
                .errors
                .first()
                .or(state.failed.as_ref())
                .or(state.waiting.as_ref());
            match missing {
                Some(text) => waiting = waiting.or(Some(format!("{name}: {text}"))),
                None if state.held || self.done.contains(&name) => {}
                None => {
                    self.done.push(name);
                    lines.push(self.style.good(&format!("{name} installed")));
                }
            }
        }
        (lines, waiting)
    }
}

#[cfg(test)]
mod tests {
    use ironsail_operator::status::ComponentState;

    use super::*;

    #[test]
    fn a_component_is_told_once() {
        let mut progress = Progress {
            style: Style::default(),
            live: false,
            done: Vec::new(),
        };
        let mut pilot = ComponentState::healthy(Component::Pilot);
        pilot.waiting = Some("Deployment istiod is new".into());
        let rollout = |pilot: &ComponentState| Rollout {
            components: vec![ComponentState::healthy(Component::Base), pilot.clone()],
            ..Rollout::default()
        };
        let (lines, waiting) = progress.round(&rollout(&pilot));
        assert_eq!(lines, ["✔ Base installed"]);
        assert_eq!(waiting.as_deref(), Some("Pilot: Deployment istiod is new"));
        pilot.waiting = None;
        assert_eq!(
            progress.round(&rollout(&pilot)),
            (vec!["✔ Pilot installed".to_owned()], None)
        );
    }
}
