//! What becomes of a request's path and host before it goes upstream.

use std::borrow::Cow;

use ironsail_xds::protobuf::BoolValue;
use ironsail_xds::route as proto;
use proto::route_action::HostRewriteSpecifier;

use super::matcher::PathMatcher;
use super::regex::Substitution;
use crate::http::message::split_query;
use crate::resource::{At, CompileError};

#[derive(Debug)]
pub enum PathRewrite {
    /// Replaces what the route matched.
    Prefix(Box<str>),
    Regex(Substitution),
}

impl PathRewrite {
    /// # Errors
    /// Two rewrites at once, an invalid expression, what this proxy does not have.
    pub(super) fn compile(action: &proto::RouteAction) -> Result<Option<Self>, CompileError> {
        if let Some(policy) = &action.path_rewrite_policy {
            return Err(CompileError::unknown_extension(
                "path rewrite policy",
                &policy.name,
                "",
            ));
        }
        if !action.path_rewrite.is_empty() {
            return Err(CompileError::new("is not supported").at("path_rewrite"));
        }
        Ok(match (&action.regex_rewrite, &*action.prefix_rewrite) {
            (Some(_), prefix) if !prefix.is_empty() => {
                return Err(CompileError::new(
                    "prefix_rewrite and regex_rewrite exclude each other",
                ));
            }
            (Some(rewrite), _) => Some(PathRewrite::Regex(
                Substitution::compile(rewrite).at("regex_rewrite")?,
            )),
            (None, "") => None,
            (None, prefix) => Some(PathRewrite::Prefix(prefix.into())),
        })
    }

    /// The new path; the query stays.
    pub fn apply(&self, matched: &PathMatcher, path: &str) -> String {
        let (path, query) = split_query(path);
        let path: Cow<'_, str> = match self {
            PathRewrite::Prefix(prefix) => {
                let rest = path.get(matched.matched_length(path)..).unwrap_or_default();
                format!("{prefix}{rest}").into()
            }
            PathRewrite::Regex(substitution) => substitution.apply(path),
        };
        match query {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        }
    }
}

#[derive(Debug)]
pub enum HostRewrite {
    Literal(Box<str>),
    /// The host name of the endpoint.
    Auto,
    Header(Box<str>),
    PathRegex(Substitution),
}

impl HostRewrite {
    /// # Errors
    /// An invalid expression, or what this proxy does not have.
    pub(super) fn compile(
        specifier: Option<&HostRewriteSpecifier>,
    ) -> Result<Option<Self>, CompileError> {
        Ok(match specifier {
            Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
                Some(HostRewrite::Literal(host.as_str().into()))
            }
            Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue { value })) => {
                value.then_some(HostRewrite::Auto)
            }
            Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
                Some(HostRewrite::Header(name.as_str().into()))
            }
            Some(HostRewriteSpecifier::HostRewritePathRegex(rewrite)) => {
                Some(HostRewrite::PathRegex(
                    Substitution::compile(rewrite).at("host_rewrite_path_regex")?,
                ))
            }
            Some(HostRewriteSpecifier::HostRewrite(_)) => {
                return Err(CompileError::new("is not supported").at("host_rewrite"));
            }
            None => None,
        })
    }
}
