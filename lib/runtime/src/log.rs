//! Logs with the peer's flags and shapes.
//!
//! A *scope* is what `--log_output_level` names: a whole target (`ironsail_controlplane::xds::ads`) or one segment
//! of it (`ads`, `xds`); the innermost segment that is named decides. `default` sets what is not named, `all` sets
//! the default and also lifts the limit on dependencies, which otherwise log warnings and errors only.

mod format;
mod level;

use std::fmt;
use std::io;

use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{Registry, reload};

pub use level::{LevelError, Levels};

/// An error with its causes, each once: `outer: middle: innermost`. Made for log fields, as `error = %chain(&error)`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Where and how a program logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// Flag `--log_output_level`; default `default:info`.
    pub levels: Levels,
    /// Flag `--log_as_json`.
    pub as_json: bool,
    /// Flag `--log_target`.
    pub target: LogTarget,
}

/// The stream that is logged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    #[default]
    Stdout,
    Stderr,
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Level(#[from] LevelError),
    #[error("another logger is installed")]
    Installed(#[from] SetGlobalDefaultError),
    #[error("the logger is gone")]
    Gone(#[from] reload::Error),
}

impl LogConfig {
    /// Reads the flags `--log_output_level` and `--log_as_json`.
    ///
    /// # Errors
    /// A level is unknown.
    pub fn from_flags(output_level: &str, as_json: bool) -> Result<Self, LogError> {
        Ok(Self {
            levels: output_level.parse()?,
            as_json,
            target: LogTarget::default(),
        })
    }
}

/// Changes levels while the program runs.
#[derive(Clone)]
pub struct LogHandle {
    levels: reload::Handle<Levels, Registry>,
}

impl LogHandle {
    /// The levels now.
    ///
    /// # Errors
    /// The logger is gone.
    pub fn levels(&self) -> Result<Levels, LogError> {
        Ok(self.levels.with_current(Levels::clone)?)
    }

    /// Applies a text of the form of `--log_output_level` on top of the levels now.
    ///
    /// # Errors
    /// A level is unknown, or the logger is gone.
    pub fn set(&self, text: &str) -> Result<(), LogError> {
        let mut levels = self.levels()?;
        levels.apply(text)?;
        Ok(self.levels.reload(levels)?)
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogHandle").field(&self.levels()).finish()
    }
}

/// Makes this the logger of the process.
///
/// # Errors
/// There is one already.
pub fn install(config: LogConfig) -> Result<LogHandle, LogError> {
    let (filter, levels) = reload::Layer::new(config.levels);
    let layer = format::Layer::new(config.as_json, writer(config.target));
    tracing::subscriber::set_global_default(Registry::default().with(layer.with_filter(filter)))?;
    Ok(LogHandle { levels })
}

fn writer(target: LogTarget) -> format::Output {
    match target {
        LogTarget::Stdout => Box::new(|line| io::Write::write_all(&mut io::stdout(), line)),
        LogTarget::Stderr => Box::new(|line| io::Write::write_all(&mut io::stderr(), line)),
    }
}

#[cfg(test)]
mod tests;
