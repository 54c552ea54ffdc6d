//! Levels by scope.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Crates of this workspace; everything else is a dependency.
const OWN_PREFIX: &str = "ironsail";

/// Dependencies log no more than this unless they are named.
const DEPENDENCY_LIMIT: LevelFilter = LevelFilter::WARN;

/// Which events are logged: `default:info,ads:debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    default: LevelFilter,
    dependencies: LevelFilter,
    scopes: BTreeMap<String, LevelFilter>,
}

/// A text that is no list of levels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    #[error("{0:?} is not a log level (none, error, warn, info, debug, trace)")]
    Level(String),
    #[error("{0:?} is not of the form scope:level")]
    Shape(String),
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            default: LevelFilter::INFO,
            dependencies: DEPENDENCY_LIMIT,
            scopes: BTreeMap::new(),
        }
    }
}

impl Levels {
    /// Lays `scope:level,…` over what is set; a level alone sets the default.
    ///
    /// # Errors
    /// An item is malformed; nothing is changed then.
    pub fn apply(&mut self, text: &str) -> Result<(), LevelError> {
        let mut next = self.clone();
        for item in text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            // The last colon parts them: scopes may be module paths.
            let (scope, level) = item.rsplit_once(':').unwrap_or(("default", item));
            let level = parse_level(level)?;
            match scope {
                "" => return Err(LevelError::Shape(item.to_owned())),
                "default" => next.default = level,
                "all" => {
                    next.default = level;
                    next.dependencies = level;
                }
                scope => {
                    next.scopes.insert(scope.to_owned(), level);
                }
            }
        }
        *self = next;
        Ok(())
    }

    /// The most verbose level that `target` logs.
    pub fn level(&self, target: &str) -> LevelFilter {
        if let Some(level) = self.scopes.get(target) {
            return *level;
        }
        let named = target
            .rsplit("::")
            .find_map(|segment| self.scopes.get(segment));
        match named {
            Some(level) => *level,
            None if is_own(target) => self.default,
            None => self.default.min(self.dependencies),
        }
    }

    /// Scopes that are set, `default` first.
    pub fn scopes(&self) -> impl Iterator<Item = (&str, LevelFilter)> {
        std::iter::once(("default", self.default)).chain(
            self.scopes
                .iter()
                .map(|(scope, level)| (scope.as_str(), *level)),
        )
    }

    fn max(&self) -> LevelFilter {
        self.scopes
            .values()
            .copied()
            .fold(self.default.max(self.dependencies), LevelFilter::max)
    }

    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        // Spans carry context for events of every level.
        metadata.is_span() && *metadata.level() <= Level::INFO
            || *metadata.level() <= self.level(metadata.target())
    }
}

/// Targets without `::` are scopes that the code named itself.
fn is_own(target: &str) -> bool {
    target.starts_with(OWN_PREFIX) || target == "pilot_agent" || target == "pilot_discovery"
}

fn parse_level(text: &str) -> Result<LevelFilter, LevelError> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "none" | "off" => LevelFilter::OFF,
        "fatal" | "critical" | "error" => LevelFilter::ERROR,
        "warn" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(LevelError::Level(text.to_owned())),
    })
}

impl FromStr for Levels {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut levels = Self::default();
        levels.apply(text)?;
        Ok(levels)
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (scope, level)) in self.scopes().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let level = match level {
                LevelFilter::OFF => "none".to_owned(),
                level => level.to_string().to_ascii_lowercase(),
            };
            write!(f, "{comma}{scope}:{level}")?;
        }
        Ok(())
    }
}

impl<S: Subscriber> Filter<S> for Levels {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.allows(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.allows(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max().max(LevelFilter::INFO))
    }
}
