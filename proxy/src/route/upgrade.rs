//! What a route says of upgrades and CONNECT: `RouteAction.UpgradeConfig`.

use ironsail_xds::route::route_action::UpgradeConfig;

use crate::resource::CompileError;

/// Lower-case protocols, each with whether it may be upgraded to.
pub fn allowed(configs: &[UpgradeConfig]) -> Vec<(Box<str>, bool)> {
    let allowed = |config: &UpgradeConfig| {
        let enabled = config.enabled.is_none_or(|enabled| enabled.value);
        (config.upgrade_type.to_ascii_lowercase().into(), enabled)
    };
    configs.iter().map(allowed).collect()
}

/// Whether CONNECT ends at this proxy.
///
/// # Errors
/// `connect_config` of another protocol, or with options that this proxy does not have.
pub fn terminates_connect(configs: &[UpgradeConfig]) -> Result<bool, CompileError> {
    let mut terminates = false;
    for (index, config) in configs.iter().enumerate() {
        let Some(connect) = &config.connect_config else {
            continue;
        };
        let refuse = |why: &'static str, field: &str| {
            let error = CompileError::new(why).at(field).at("connect_config");
            Err(error.at(format_args!("upgrade_configs[{index}]")))
        };
        if !config.upgrade_type.eq_ignore_ascii_case("CONNECT") {
            return refuse("is for CONNECT only", "");
        }
        if connect.proxy_protocol_config.is_some() {
            return refuse("is not supported", "proxy_protocol_config");
        }
        if connect.allow_post {
            return refuse("is not supported", "allow_post");
        }
        terminates = true;
    }
    Ok(terminates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironsail_xds::route::route_action::upgrade_config::ConnectConfig;

    fn config(upgrade_type: &str, connect: Option<ConnectConfig>) -> [UpgradeConfig; 1] {
        [UpgradeConfig {
            upgrade_type: upgrade_type.to_owned(),
            connect_config: connect,
            ..Default::default()
        }]
    }

    #[test]
    fn only_connect_with_a_config_ends_here() {
        let connect = |configs: &[UpgradeConfig]| terminates_connect(configs).expect("valid");
        assert!(connect(&config("CONNECT", Some(ConnectConfig::default()))));
        assert!(!connect(&config("CONNECT", None)));
        assert!(!connect(&[]));
    }

    #[test]
    fn what_is_not_supported_is_refused_with_its_path() {
        let post = ConnectConfig {
            allow_post: true,
            ..Default::default()
        };
        let error = terminates_connect(&config("CONNECT", Some(post))).expect_err("refused");
        let text = error.to_string();
        assert!(
            text.contains("upgrade_configs[0].connect_config.allow_post"),
            "{text}"
        );
        assert!(terminates_connect(&config("websocket", Some(ConnectConfig::default()))).is_err());
    }
}
