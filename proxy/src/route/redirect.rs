//! Redirects.

use ironsail_xds::route as proto;

use super::matcher::PathMatcher;
use super::regex::Substitution;
use super::rewrite::PathRewrite;
use super::virtual_host::split_port;
use crate::http::message::{RequestHead, split_query};
use crate::resource::{At, CompileError};

/// `RedirectAction`.
#[derive(Debug)]
pub struct Redirect {
    pub status: u16,
    scheme: Option<Box<str>>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: RedirectPath,
    strip_query: bool,
}

#[derive(Debug)]
enum RedirectPath {
    Keep,
    Replace(Box<str>),
    Rewrite(PathRewrite),
}

impl Redirect {
    /// # Errors
    /// Invalid expressions, impossible ports, what this proxy does not have.
    pub fn compile(action: &proto::RedirectAction) -> Result<Self, CompileError> {
        use proto::redirect_action::{
            PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
        };
        let port = match action.port_redirect {
            0 => None,
            port => Some(u16::try_from(port).map_err(|_| {
                CompileError::new(format!("{port} is not a port")).at("port_redirect")
            })?),
        };
        let path = match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRedirect(path)) => {
                RedirectPath::Replace(path.as_str().into())
            }
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
                RedirectPath::Rewrite(PathRewrite::Prefix(prefix.as_str().into()))
            }
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => RedirectPath::Rewrite(
                PathRewrite::Regex(Substitution::compile(rewrite).at("regex_rewrite")?),
            ),
            Some(PathRewriteSpecifier::PathRewrite(_)) => {
                return Err(CompileError::new("is not supported").at("path_rewrite"));
            }
            None => RedirectPath::Keep,
        };
        Ok(Self {
            status: match action.response_code() {
                RedirectResponseCode::MovedPermanently => 301,
                RedirectResponseCode::Found => 302,
                RedirectResponseCode::SeeOther => 303,
                RedirectResponseCode::TemporaryRedirect => 307,
                RedirectResponseCode::PermanentRedirect => 308,
            },
            scheme: match &action.scheme_rewrite_specifier {
                Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
                Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => {
                    Some(scheme.to_ascii_lowercase().into())
                }
                Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
            },
            host: Some(action.host_redirect.as_str())
                .filter(|host| !host.is_empty())
                .map(Into::into),
            port,
            path,
            strip_query: action.strip_query,
        })
    }

    /// The value of `Location`.
    pub fn location(&self, matched: &PathMatcher, head: &RequestHead) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme.as_str());
        let host = match &self.host {
            Some(host) => host,
            None => self.request_host(head.authority(), scheme),
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!(
            "{scheme}://{host}{port}{}",
            self.new_path(matched, head.path())
        )
    }

    /// The request's host, without a port that is replaced or that was the default of the old scheme.
    fn request_host<'a>(&self, authority: &'a str, scheme: &str) -> &'a str {
        let (host, port) = split_port(authority);
        let default_of_other = match scheme {
            "https" => "80",
            "http" => "443",
            _ => "",
        };
        let drop = self.port.is_some() || (self.scheme.is_some() && port == Some(default_of_other));
        if drop { host } else { authority }
    }

    fn new_path(&self, matched: &PathMatcher, path: &str) -> String {
        let (new, query) = match &self.path {
            RedirectPath::Keep => (path.to_owned(), None),
            RedirectPath::Rewrite(rewrite) => (rewrite.apply(matched, path), None),
            RedirectPath::Replace(new) => {
                let own_query = new.contains('?');
                (new.to_string(), split_query(path).1.filter(|_| !own_query))
            }
        };
        match (self.strip_query, query) {
            (true, _) if !matches!(self.path, RedirectPath::Replace(_)) => {
                split_query(&new).0.to_owned()
            }
            (false, Some(query)) => format!("{new}?{query}"),
            _ => new,
        }
    }
}
