//! Headers that routes add and remove: `HeaderValueOption` with formatters.

use ironsail_xds::core;
use ironsail_xds::core::header_value_option::HeaderAppendAction;

use crate::access_log::{Absent, Format, FormatContext};
use crate::http::header_block::HeaderBlock;
use crate::resource::{At, CompileError};

/// Headers to remove, then headers to add.
#[derive(Clone, Debug, Default)]
pub struct HeaderMutations {
    remove: Vec<Box<[u8]>>,
    add: Vec<Addition>,
}

#[derive(Clone, Debug)]
struct Addition {
    name: Box<[u8]>,
    value: Format,
    action: HeaderAppendAction,
    keep_empty: bool,
}

impl HeaderMutations {
    /// `field` is `request_headers` or `response_headers`, for messages.
    ///
    /// # Errors
    /// Invalid names or formats, and headers that may not be touched.
    pub fn compile(
        field: &str,
        add: &[core::HeaderValueOption],
        remove: &[String],
    ) -> Result<Self, CompileError> {
        let remove = remove.iter().enumerate().map(|(index, name)| {
            check_name(name).at(format_args!("{field}_to_remove[{index}]"))?;
            let name: Box<[u8]> = name.to_ascii_lowercase().into_bytes().into();
            Ok::<_, CompileError>(name)
        });
        let add = add.iter().enumerate().map(|(index, option)| {
            Addition::compile(option).at(format_args!("{field}_to_add[{index}]"))
        });
        let mut add = add.collect::<Result<Vec<_>, _>>()?;
        // As in Envoy, what replaces comes before what is added.
        add.sort_by_key(|addition| !addition.overwrites());
        Ok(Self {
            remove: remove.collect::<Result<_, _>>()?,
            add,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Whether this removes a header of the given lower-case name.
    pub fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| &**removed == name)
    }

    /// The changes, evaluated; to be applied to a block that `context` may borrow from.
    pub fn evaluate(&self, context: &FormatContext<'_>) -> Evaluated<'_> {
        let values = self.add.iter().map(|addition| {
            let mut value = Vec::new();
            addition.value.write(context, Absent::Empty, &mut value);
            value
        });
        Evaluated {
            mutations: self,
            values: values.collect(),
        }
    }
}

/// Changes whose values are known.
pub struct Evaluated<'m> {
    mutations: &'m HeaderMutations,
    values: Vec<Vec<u8>>,
}

impl Evaluated<'_> {
    pub fn apply(self, headers: &mut HeaderBlock) {
        for name in &self.mutations.remove {
            headers.remove_named(name);
        }
        for (addition, value) in self.mutations.add.iter().zip(&self.values) {
            addition.apply(value, headers);
        }
    }
}

impl Addition {
    fn overwrites(&self) -> bool {
        matches!(
            self.action,
            HeaderAppendAction::OverwriteIfExists | HeaderAppendAction::OverwriteIfExistsOrAdd
        )
    }

    #[allow(deprecated)]
    fn compile(option: &core::HeaderValueOption) -> Result<Self, CompileError> {
        let header = option
            .header
            .as_ref()
            .ok_or_else(|| CompileError::new("is required").at("header"))?;
        check_name(&header.key).at("header.key")?;
        let raw;
        let text = if header.raw_value.is_empty() {
            &header.value
        } else {
            raw = String::from_utf8(header.raw_value.clone())
                .map_err(|_| CompileError::new("is not UTF-8").at("header.raw_value"))?;
            &raw
        };
        if text.contains(['\r', '\n', '\0']) {
            return Err(CompileError::new("contains a line end").at("header.value"));
        }
        let value = Format::parse(text).map_err(|m| CompileError::new(m).at("header.value"))?;
        let action = match option.append {
            Some(append) if append.value => HeaderAppendAction::AppendIfExistsOrAdd,
            Some(_) => HeaderAppendAction::OverwriteIfExistsOrAdd,
            None => HeaderAppendAction::try_from(option.append_action)
                .map_err(|_| CompileError::new("unknown action").at("append_action"))?,
        };
        Ok(Self {
            name: header.key.to_ascii_lowercase().into_bytes().into(),
            value,
            action,
            keep_empty: option.keep_empty_value,
        })
    }

    fn apply(&self, value: &[u8], headers: &mut HeaderBlock) {
        if value.is_empty() && !self.keep_empty {
            return;
        }
        let exists = || headers.get_named(&self.name).is_some();
        match self.action {
            HeaderAppendAction::AppendIfExistsOrAdd => headers.append_named(&self.name, value),
            HeaderAppendAction::OverwriteIfExistsOrAdd => overwrite(&self.name, value, headers),
            HeaderAppendAction::AddIfAbsent if !exists() => headers.append_named(&self.name, value),
            HeaderAppendAction::OverwriteIfExists if exists() => {
                overwrite(&self.name, value, headers);
            }
            HeaderAppendAction::AddIfAbsent | HeaderAppendAction::OverwriteIfExists => {}
        }
    }
}

/// Puts a header in the place of all of its name, behind the others as Envoy does.
fn overwrite(name: &[u8], value: &[u8], headers: &mut HeaderBlock) {
    headers.remove_named(name);
    headers.append_named(name, value);
}

fn check_name(name: &str) -> Result<(), CompileError> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(CompileError::new(format!("{name:?} may not be modified")));
    }
    let framing = ["content-length", "transfer-encoding"];
    if framing
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
    {
        return Err(CompileError::new(format!(
            "{name:?} frames messages and may not be modified"
        )));
    }
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(CompileError::new(format!("{name:?} is not a header name"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Instant, SystemTime};

    use crate::access_log::StreamInfo;
    use crate::http::message::{Method, RequestHead};

    fn option(key: &str, value: &str, action: HeaderAppendAction) -> core::HeaderValueOption {
        core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: key.to_owned(),
                value: value.to_owned(),
                ..Default::default()
            }),
            append_action: action.into(),
            ..Default::default()
        }
    }

    #[test]
    fn four_ways_to_add() {
        use HeaderAppendAction::{
            AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd,
        };
        let mutations = HeaderMutations::compile(
            "request_headers",
            &[
                option("X-Append", "2", AppendIfExistsOrAdd),
                option("x-absent", "2", AddIfAbsent),
                option("x-there", "2", AddIfAbsent),
                option("x-over", "2", OverwriteIfExistsOrAdd),
                option("x-only", "2", OverwriteIfExists),
                option("x-path", "p=%REQ(:path)%", AppendIfExistsOrAdd),
                option("x-empty", "%REQ(x-none)%", AppendIfExistsOrAdd),
            ],
            &["x-gone".to_owned()],
        )
        .expect("valid");
        let mut head = RequestHead::new(Method::Get, "h", "/p");
        for name in ["x-append", "x-there", "x-over", "x-gone"] {
            head.headers.append_named(name.as_bytes(), b"1");
        }
        let info = StreamInfo::new(Instant::now(), SystemTime::now());
        let evaluated = mutations.evaluate(&FormatContext {
            info: &info,
            connection: None,
            request: Some(&head),
            response: None,
            trailers: None,
        });
        evaluated.apply(&mut head.headers);
        let fields: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                format!("{}={}", text(name), text(value))
            })
            .collect();
        assert_eq!(
            fields,
            [
                "x-append=1",
                "x-there=1",
                "x-over=2",
                "x-append=2",
                "x-absent=2",
                "x-path=p=/p"
            ]
        );
    }

    #[test]
    fn some_headers_are_not_to_be_touched() {
        for name in [":path", "Host", "content-length", "a b", ""] {
            let add = [option(name, "x", HeaderAppendAction::AddIfAbsent)];
            let error = HeaderMutations::compile("request_headers", &add, &[]);
            let error = error.expect_err(name).to_string();
            assert!(
                error.starts_with("request_headers_to_add[0].header.key: "),
                "{error}"
            );
        }
    }
}
