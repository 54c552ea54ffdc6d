//! `/config_dump`: `envoy.admin.v3.ConfigDump` as protobuf JSON.
//!
//! Printing needs descriptors of all messages, 27 MB once loaded. So a child process of the same binary prints: it is fed
//! the encoded sections on its standard input, writes JSON, and exits.

use std::io::{self, Read, Write};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use ironsail_runtime::admin::{Request, Response, text};
use ironsail_xds::protobuf::Timestamp;
use ironsail_xds::{Any, admin, json, pack, type_url, unpack};
use prost::Message;
use regex::Regex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{DumpResource, Query, Source};

/// Hidden subcommand that prints a dump fed on standard input.
pub const PRINT_COMMAND: &str = "print-config-dump";

const PRINT_LIMIT: Duration = Duration::from_secs(30);

pub async fn serve(source: Source, request: Request) -> Response {
    let query = Query::of(&request);
    let names = match query.get("name_regex").map(Regex::new).transpose() {
        Ok(names) => names,
        Err(error) => {
            return text(
                StatusCode::BAD_REQUEST,
                format!("invalid name_regex: {error}\n"),
            );
        }
    };
    let sections = sections(&source, &query, names.as_ref());
    let dump = admin::ConfigDump { configs: sections };
    match print_in_child(dump.encode_to_vec()).await {
        Ok(output) => {
            let mut response = text(StatusCode::OK, output);
            response.headers_mut().insert(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("application/json"),
            );
            response
        }
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the dump could not be printed: {error}\n"),
        ),
    }
}

/// Child side: reads an encoded `ConfigDump` and writes it as JSON.
///
/// # Errors
/// The input is no `ConfigDump`, or the pipes fail.
pub fn print_dump(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let dump = admin::ConfigDump::decode(bytes.as_slice())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let configs: Vec<Value> = dump
        .configs
        .iter()
        .map(|section| {
            json::to_json(section).unwrap_or_else(
                |error| json!({"@type": section.type_url, "error": error.to_string()}),
            )
        })
        .collect();
    serde_json::to_writer_pretty(&mut output, &json!({"configs": configs}))?;
    output.write_all(b"\n")
}

async fn print_in_child(dump: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut child = Command::new("/proc/self/exe")
        .arg(PRINT_COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("no pipe to the child"))?;
    let feed = async move {
        stdin.write_all(&dump).await?;
        stdin.shutdown().await
    };
    let (_, output) = tokio::time::timeout(PRINT_LIMIT, async {
        tokio::join!(feed, child.wait_with_output())
    })
    .await
    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let output = output?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(io::Error::other(output.status.to_string())),
    }
}

fn sections(source: &Source, query: &Query, names: Option<&Regex>) -> Vec<Any> {
    let wanted = |type_url: &str| {
        let mut resources = source.resources(type_url);
        resources.retain(|resource| names.is_none_or(|names| names.is_match(&resource.name)));
        resources
    };
    let mut all: Vec<(&[&str], Any)> = Vec::new();
    if names.is_none() {
        all.push((&["bootstrap"], bootstrap(source)));
    }
    all.push((
        &["dynamic_active_clusters", "static_clusters"],
        clusters(wanted(type_url::CLUSTER)),
    ));
    if query.has("include_eds") {
        all.push((
            &["dynamic_endpoint_configs", "static_endpoint_configs"],
            endpoints(wanted(type_url::ENDPOINT)),
        ));
    }
    all.push((
        &["dynamic_listeners", "static_listeners"],
        listeners(wanted(type_url::LISTENER)),
    ));
    all.push((
        &["dynamic_route_configs", "static_route_configs"],
        routes(wanted(type_url::ROUTE)),
    ));
    all.push((
        &["dynamic_active_secrets", "static_secrets"],
        secrets(source, wanted(type_url::SECRET)),
    ));
    let only = query.get("resource").filter(|only| !only.is_empty());
    all.into_iter()
        .filter(|(fields, _)| only.is_none_or(|only| fields.contains(&only)))
        .map(|(_, section)| section)
        .collect()
}

fn bootstrap(source: &Source) -> Any {
    let bytes = source.bootstrap();
    pack(&admin::BootstrapConfigDump {
        bootstrap: Message::decode(bytes).ok(),
        last_updated: None,
    })
}

fn any(type_url: &str, resource: &DumpResource) -> Option<Any> {
    (!resource.body.is_empty()).then(|| Any {
        type_url: type_url.to_owned(),
        value: resource.body.to_vec(),
    })
}

fn timestamp(at: SystemTime) -> Option<Timestamp> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp {
        seconds: i64::try_from(since.as_secs()).ok()?,
        nanos: i32::try_from(since.subsec_nanos()).ok()?,
    })
}

fn error_state(resource: &DumpResource) -> Option<admin::UpdateFailureState> {
    resource
        .error
        .as_ref()
        .map(|details| admin::UpdateFailureState {
            details: details.clone(),
            last_update_attempt: timestamp(resource.last_updated),
            ..Default::default()
        })
}

fn clusters(resources: Vec<DumpResource>) -> Any {
    let dynamic_active_clusters = resources
        .iter()
        .map(|resource| admin::clusters_config_dump::DynamicCluster {
            version_info: resource.version.clone(),
            cluster: any(type_url::CLUSTER, resource),
            last_updated: timestamp(resource.last_updated),
            error_state: error_state(resource),
            ..Default::default()
        })
        .collect();
    pack(&admin::ClustersConfigDump {
        dynamic_active_clusters,
        ..Default::default()
    })
}

fn endpoints(resources: Vec<DumpResource>) -> Any {
    let dynamic_endpoint_configs = resources
        .iter()
        .map(
            |resource| admin::endpoints_config_dump::DynamicEndpointConfig {
                version_info: resource.version.clone(),
                endpoint_config: any(type_url::ENDPOINT, resource),
                last_updated: timestamp(resource.last_updated),
                error_state: error_state(resource),
                ..Default::default()
            },
        )
        .collect();
    pack(&admin::EndpointsConfigDump {
        dynamic_endpoint_configs,
        ..Default::default()
    })
}

fn listeners(resources: Vec<DumpResource>) -> Any {
    let dynamic_listeners = resources
        .iter()
        .map(|resource| admin::listeners_config_dump::DynamicListener {
            name: resource.name.clone(),
            active_state: Some(admin::listeners_config_dump::DynamicListenerState {
                version_info: resource.version.clone(),
                listener: any(type_url::LISTENER, resource),
                last_updated: timestamp(resource.last_updated),
            }),
            error_state: error_state(resource),
            ..Default::default()
        })
        .collect();
    pack(&admin::ListenersConfigDump {
        dynamic_listeners,
        ..Default::default()
    })
}

fn routes(resources: Vec<DumpResource>) -> Any {
    let dynamic_route_configs = resources
        .iter()
        .map(|resource| admin::routes_config_dump::DynamicRouteConfig {
            version_info: resource.version.clone(),
            route_config: any(type_url::ROUTE, resource),
            last_updated: timestamp(resource.last_updated),
            error_state: error_state(resource),
            ..Default::default()
        })
        .collect();
    pack(&admin::RoutesConfigDump {
        dynamic_route_configs,
        ..Default::default()
    })
}

/// Secrets of the agent and of ADS, with certificates and without keys.
fn secrets(source: &Source, resources: Vec<DumpResource>) -> Any {
    use ironsail_xds::core::{DataSource, data_source::Specifier};
    use ironsail_xds::ext::transport_sockets::tls::v3::{
        CertificateValidationContext, Secret, TlsCertificate, secret,
    };
    let inline = |bytes: Vec<u8>| {
        Some(DataSource {
            specifier: Some(Specifier::InlineBytes(bytes)),
            ..Default::default()
        })
    };
    let own = source.certificates().into_iter().map(|certificate| {
        let kind = match certificate.name.as_str() {
            "ROOTCA" => secret::Type::ValidationContext(CertificateValidationContext {
                trusted_ca: inline(certificate.pem.clone().into_bytes()),
                ..Default::default()
            }),
            _ => secret::Type::TlsCertificate(TlsCertificate {
                certificate_chain: inline(certificate.pem.clone().into_bytes()),
                private_key: inline(REDACTED.to_vec()),
                ..Default::default()
            }),
        };
        (
            certificate.name.clone(),
            String::new(),
            certificate.valid_from,
            Secret {
                name: certificate.name,
                r#type: Some(kind),
            },
        )
    });
    let delivered = resources.into_iter().filter_map(|resource| {
        let packed = any(type_url::SECRET, &resource)?;
        let mut secret: Secret = unpack(&packed).ok()?;
        redact(&mut secret);
        Some((
            resource.name,
            resource.version,
            resource.last_updated,
            secret,
        ))
    });
    let dynamic_active_secrets = own
        .chain(delivered)
        .map(
            |(name, version_info, at, secret)| admin::secrets_config_dump::DynamicSecret {
                name,
                version_info,
                last_updated: timestamp(at),
                secret: Some(pack(&secret)),
                ..Default::default()
            },
        )
        .collect();
    pack(&admin::SecretsConfigDump {
        dynamic_active_secrets,
        ..Default::default()
    })
}

const REDACTED: &[u8] = b"[redacted]";

/// Removes everything but certificates.
fn redact(secret: &mut ironsail_xds::ext::transport_sockets::tls::v3::Secret) {
    use ironsail_xds::core::{DataSource, data_source::Specifier};
    use ironsail_xds::ext::transport_sockets::tls::v3::secret::Type;
    let redacted = || {
        Some(DataSource {
            specifier: Some(Specifier::InlineBytes(REDACTED.to_vec())),
            ..Default::default()
        })
    };
    match &mut secret.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            certificate.private_key = redacted();
            certificate.password = None;
            certificate.private_key_provider = None;
            certificate.pkcs12 = None;
        }
        Some(Type::ValidationContext(_)) => {}
        // Session ticket keys and generic secrets are nothing but secret.
        other => *other = None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_never_printed() {
        use ironsail_xds::core::{DataSource, data_source::Specifier};
        use ironsail_xds::ext::transport_sockets::tls::v3::{Secret, TlsCertificate, secret};
        let mut value = Secret {
            name: "x".to_owned(),
            r#type: Some(secret::Type::TlsCertificate(TlsCertificate {
                private_key: Some(DataSource {
                    specifier: Some(Specifier::InlineString("key".to_owned())),
                    ..Default::default()
                }),
                ..Default::default()
            })),
        };
        redact(&mut value);
        let text = format!("{value:?}");
        assert!(!text.contains("\"key\""), "{text}");
    }

    #[test]
    fn the_child_prints_sections_with_their_type() {
        let dump = admin::ConfigDump {
            configs: vec![clusters(vec![DumpResource {
                name: "a".to_owned(),
                version: "v".to_owned(),
                last_updated: SystemTime::UNIX_EPOCH,
                body: ironsail_xds::cluster::Cluster {
                    name: "a".to_owned(),
                    ..Default::default()
                }
                .encode_to_vec()
                .into(),
                error: Some("bad".to_owned()),
            }])],
        };
        let mut output = Vec::new();
        print_dump(dump.encode_to_vec().as_slice(), &mut output).expect("printable");
        let json: Value = serde_json::from_slice(&output).expect("JSON");
        let section = &json["configs"][0];
        assert_eq!(
            section["@type"],
            "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"
        );
        let cluster = &section["dynamic_active_clusters"][0];
        assert_eq!(cluster["cluster"]["name"], "a");
        assert_eq!(cluster["error_state"]["details"], "bad");
    }
}
