//! `typed_per_filter_config`: what virtual hosts, routes and weighted clusters say to filters.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ironsail_xds::ext::filters::http::{
    buffer::v3 as buffer, cors::v3 as cors, fault::v3 as fault,
};
use ironsail_xds::{Any, is_type, route as proto, unpack};

use crate::http::filter::{BUFFER, Buffer, CORS, CorsPolicy, FAULT, Fault};
use crate::resource::{At, CompileError};

/// What a route says to the filters that listen to routes.
#[derive(Clone, Debug, Default)]
pub struct RouteFilters {
    pub buffer: Option<Setting<Buffer>>,
    pub fault: Option<Setting<Fault>>,
    pub cors: Option<Setting<CorsPolicy>>,
}

/// One filter's part.
#[derive(Debug)]
pub enum Setting<T> {
    Use(Arc<T>),
    Disabled,
}

impl<T> Clone for Setting<T> {
    fn clone(&self) -> Self {
        match self {
            Setting::Use(config) => Setting::Use(Arc::clone(config)),
            Setting::Disabled => Setting::Disabled,
        }
    }
}

impl<T> Setting<T> {
    /// The configuration, if there is one.
    pub fn config(&self) -> Option<&Arc<T>> {
        match self {
            Setting::Use(config) => Some(config),
            Setting::Disabled => None,
        }
    }

    /// What holds on a route: its own configuration if it has one, else the filter's; none where it is disabled.
    pub fn or_general<'a>(own: Option<&'a Self>, general: &'a T) -> Option<&'a T> {
        match own {
            Some(own) => own.config().map(Arc::as_ref),
            None => Some(general),
        }
    }
}

impl RouteFilters {
    /// # Errors
    /// Filters that this proxy does not have, unless they are optional or disabled.
    pub fn compile(configs: &HashMap<String, Any>) -> Result<Self, CompileError> {
        let mut filters = Self::default();
        // Sorted, so that of several errors always the same one is reported.
        for (name, config) in configs.iter().collect::<BTreeMap<_, _>>() {
            filters
                .add(name, config)
                .at(format_args!("typed_per_filter_config[{name}]"))?;
        }
        Ok(filters)
    }

    fn add(&mut self, name: &str, config: &Any) -> Result<(), CompileError> {
        if !is_type::<proto::FilterConfig>(config) {
            return self.add_config(name, config);
        }
        let wrapper: proto::FilterConfig = unpack(config)?;
        match (&wrapper.config, name) {
            (_, BUFFER) if wrapper.disabled => self.buffer = Some(Setting::Disabled),
            (_, FAULT) if wrapper.disabled => self.fault = Some(Setting::Disabled),
            (_, CORS) if wrapper.disabled => self.cors = Some(Setting::Disabled),
            _ if wrapper.disabled => {}
            (Some(config), _) => {
                let added = self.add_config(name, config);
                if !wrapper.is_optional {
                    return added;
                }
            }
            (None, _) => {}
        }
        Ok(())
    }

    fn add_config(&mut self, name: &str, config: &Any) -> Result<(), CompileError> {
        if is_type::<buffer::BufferPerRoute>(config) {
            let config = unpack::<buffer::BufferPerRoute>(config)?;
            self.buffer = Some(Buffer::compile_route(&config)?);
        } else if is_type::<fault::HttpFault>(config) {
            let config = unpack::<fault::HttpFault>(config)?;
            self.fault = Some(Setting::Use(Arc::new(Fault::compile(&config)?)));
        } else if is_type::<cors::CorsPolicy>(config) {
            let config = unpack::<cors::CorsPolicy>(config)?;
            self.cors = Some(Setting::Use(Arc::new(CorsPolicy::compile(&config)?)));
        } else {
            return Err(CompileError::unknown_extension(
                "HTTP filter",
                name,
                &config.type_url,
            ));
        }
        Ok(())
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_none() && self.fault.is_none() && self.cors.is_none()
    }

    /// These settings, with those of the enclosing level where they say nothing.
    #[must_use]
    pub fn or(&self, outer: &RouteFilters) -> Self {
        Self {
            buffer: self.buffer.clone().or_else(|| outer.buffer.clone()),
            fault: self.fault.clone().or_else(|| outer.fault.clone()),
            cors: self.cors.clone().or_else(|| outer.cors.clone()),
        }
    }
}
