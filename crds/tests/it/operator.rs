use ironsail_crds::kind::ISTIO_OPERATOR;
use serde_json::json;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&ISTIO_OPERATOR, spec, expected);
}

#[test]
fn accepts() {
    check("{}", &[]);
    check(
        r#"
        profile: demo
        hub: registry.example.com:5000/mesh/images
        tag: 1.32.0-ironsail.1
        revision: canary-1
        compatibilityVersion: "1.28"
        meshConfig: {anything: {goes: here}}
        components:
          base: {enabled: true, k8s: {overlays: [{kind: ClusterRole, name: a, patches: [{path: rules, value: null}]}]}}
          pilot:
            hub: example.com
            tag: latest
            k8s:
              affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
              env:
              - {name: A, value: "1"}
              - {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
              - {$patch: delete, name: C}
              hpaSpec: {minReplicas: 2, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]}
              imagePullPolicy: Always
              nodeSelector: {a: b}
              podAnnotations: {a: b}
              podDisruptionBudget: {maxUnavailable: 1}
              priorityClassName: system-cluster-critical
              readinessProbe: {httpGet: {path: /ready, port: 8080}}
              resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 500m}}
              securityContext: {runAsUser: 1337}
              service: {ports: [{name: a, port: 15010}]}
              serviceAnnotations: {a: b}
              strategy: {rollingUpdate: {maxSurge: 100%, maxUnavailable: 1}}
              tolerations: [{key: a, operator: Exists}]
              volumes: [{name: a, configMap: {name: b}}]
              volumeMounts: [{name: a, mountPath: /a}]
          cni: null
          ingressGateways:
          - {name: a, label: {app: a}, k8s: {service: {ports: [{port: 80, targetPort: 8080}, {port: 8443}, {port: 443, targetPort: https}]}}}
          - {name: a, namespace: other}
          egressGateways: []
        values:
          global: {istioNamespace: istio-system, proxy: {includeIPRanges: "10.0.0.0/8, 192.168.0.0/16", excludeInboundPorts: "80,81"}}
          pilot: {env: {A: true}, traceSampling: 0.5}
          gateways: {istio-ingressgateway: {autoscaleMax: 5}}
          ztunnel: {anything: goes}
          sidecarInjectorWebhook: {templates: {own: text}}
        unvalidatedValues: {anything: goes}
        "#,
        &[],
    );
}

#[test]
fn unknown_fields_say_what_was_meant() {
    check(
        "{components: {ingressGateway: []}, Profile: demo, replicas: 1}",
        &[
            "error spec.components.ingressGateway: unknown field; did you mean ingressGateways?",
            "error spec.Profile: unknown field; did you mean profile?",
            "error spec.replicas: unknown field",
        ],
    );
    check(
        "{components: {ingressGateways: [{name: a}], k8s: {}}}",
        &["error spec.components.k8s: unknown field; did you mean ingressGateways[].k8s?"],
    );
    check(
        "{components: {pilot: {resources: {}}, ingressGateways: [{name: a, labels: {a: b}, service: {}}]}}",
        &[
            "error spec.components.pilot.resources: unknown field; did you mean k8s.resources?",
            "error spec.components.ingressGateways[0].labels: unknown field; did you mean label?",
            "error spec.components.ingressGateways[0].service: unknown field; did you mean k8s.service?",
        ],
    );
    check(
        "{pilot: {}, ingressGateways: []}",
        &[
            "error spec.pilot: unknown field; did you mean components.pilot or values.pilot?",
            "error spec.ingressGateways: unknown field; did you mean components.ingressGateways?",
        ],
    );
    check(
        "{components: {pilot: {k8s: {replicaCounts: 1, overlays: [{kind: A, name: a, patch: []}]}}}}",
        &[
            "error spec.components.pilot.k8s.replicaCounts: unknown field; did you mean replicaCount?",
            "error spec.components.pilot.k8s.overlays[0].patch: unknown field",
        ],
    );
}

#[test]
fn unknown_top_level_fields() {
    let object = json!({ "kind": "IstioOperator", "spec": {}, "status": {}, "specs": {} });
    let found: Vec<String> = ISTIO_OPERATOR
        .validate(&object)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found, ["specs: unknown field"]);
    let found = ISTIO_OPERATOR.validate(&json!([]));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn wrong_types() {
    check(
        r#"
        hub: 1
        components:
          pilot: {enabled: "true", k8s: {replicaCount: -1, nodeSelector: {a: true}}}
          ingressGateways: {name: a}
        values: {global: {proxy: {privileged: "yes"}}, revisionTags: prod}
        "#,
        &[
            "error spec.hub: must be text, is a number; put it in quotes",
            "error spec.components.pilot.enabled: must be a boolean, is text; write true or false without quotes",
            "error spec.components.pilot.k8s.replicaCount: -1 is less than 0",
            "error spec.components.pilot.k8s.nodeSelector.a: must be text, is a boolean; put it in quotes",
            "error spec.components.ingressGateways: must be a list, is an object",
            "error spec.values.global.proxy.privileged: must be a boolean, is text; write true: \"yes\" is a boolean in YAML 1.1 only",
            "error spec.values.revisionTags: must be a list, is text",
        ],
    );
}

#[test]
fn images_and_revisions() {
    check(
        "{hub: \"example.com/Mesh\", tag: \"a b\", revision: A_1, components: {cni: {hub: \"a b\", tag: 1.5}}}",
        &[
            "error spec.hub: \"example.com/Mesh\" is no image repository such as registry.example.com/mesh",
            "error spec.tag: \"a b\" is no image tag",
            "error spec.revision: \"A_1\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
            "error spec.components.cni.hub: \"a b\" is no image repository such as registry.example.com/mesh",
            "warning spec.components.cni.tag: is the number 1.5: put it in quotes, numbers lose digits",
        ],
    );
    check(
        "{tag: [], revision: 7, compatibilityVersion: 1.28}",
        &[
            "error spec.tag: must be text, is a list",
            "error spec.revision: must be text, is a number; put it in quotes",
            "error spec.compatibilityVersion: must be text, is a number; put it in quotes",
        ],
    );
    check(
        "{revision: a, values: {revision: b, global: {hub: \"-\"}}}",
        &[
            "warning spec.revision: spec.values.revision \"b\" wins over it",
            "error spec.values.global.hub: \"-\" is no image repository such as registry.example.com/mesh",
        ],
    );
    for hub in [
        "gcr.io/istio-release",
        "localhost:5000",
        "a/b/c_d/e--f.g",
        "docker.io/istio/",
    ] {
        check(&format!("hub: {hub}"), &[]);
    }
}

#[test]
fn history_is_a_warning() {
    check(
        r#"
        namespace: istio-system
        resourceSuffix: a
        addonComponents: {kiali: {enabled: false}, grafana: {enabled: true}}
        components:
          telemetry: {enabled: false}
          citadel: {enabled: false}
          pilot: {spec: {a: b}}
        values:
          mixer: {policy: {enabled: true}}
          global: {mtls: {enabled: true}, proxy: {accessLogFile: /dev/stdout}}
          gateways: {istio-ingressgateway: {zvpn: {enabled: true}}}
          telemetry: {v2: {metadataExchange: {wasmEnabled: false}}}
        "#,
        &[
            "warning spec.values.mixer: has no effect: Mixer was removed in 1.8",
            "warning spec.values.global.mtls: has no effect: use a PeerAuthentication and spec.meshConfig.enableAutoMtls",
            "warning spec.values.global.proxy.accessLogFile: has no effect: use spec.meshConfig.accessLogFile, accessLogFormat, accessLogEncoding",
            "warning spec.values.gateways.istio-ingressgateway.zvpn: has no effect: use a gateway with AUTO_PASSTHROUGH",
            "warning spec.values.telemetry.v2.metadataExchange: has no effect: always on",
            "warning spec.resourceSuffix: has no effect: never implemented by any version",
            "warning spec.namespace: has no effect: use spec.values.global.istioNamespace",
            "warning spec.addonComponents: has no effect: addons are installed on their own since 1.8",
            "warning spec.components.telemetry: has no effect: Mixer was removed in 1.8",
            "warning spec.components.citadel: has no effect: part of istiod since 1.6",
            "warning spec.components.pilot.spec: has no effect: use spec.values.pilot",
            "error spec.addonComponents.grafana.enabled: addons can't be installed by the operator since 1.8",
        ],
    );
}

#[test]
fn values() {
    check(
        r#"
        values:
          autoscaleEnabled: true
          global: {hubb: a, resourceScope: some, pilotCertProvider: kubernetes, imagePullPolicy: Sometimes, proxy: {includeIPRanges: "a,*", excludeInboundPorts: "0,x"}, tracer: {stackdriver: {debug: true}}}
          pilot: {autoscaleEnabled: true, replicaCount: 2}
          telemetry: {v2: {prometheus: {configOverride: {}}}}
        "#,
        &[
            "error spec.values.autoscaleEnabled: unknown value; did you mean pilot.autoscaleEnabled?; what is not checked belongs into spec.unvalidatedValues",
            "error spec.values.global.hubb: unknown value; did you mean hub?; what is not checked belongs into spec.unvalidatedValues",
            "error spec.values.global.proxy.includeIPRanges: \"a\" is no IP address or range such as 10.0.0.0/8",
            "error spec.values.global.proxy.includeIPRanges: \"*\" is no IP address or range such as 10.0.0.0/8",
            "error spec.values.global.proxy.excludeInboundPorts: port 0 must be 1 to 65535",
            "error spec.values.global.proxy.excludeInboundPorts: \"x\" is no port number",
            "error spec.values.global.resourceScope: \"some\" must be one of all, cluster, namespace",
            "error spec.values.global.imagePullPolicy: \"Sometimes\" must be one of Always, IfNotPresent, Never",
            "error spec.values.global.pilotCertProvider: kubernetes is not supported any more, use istiod or custom",
            "error spec.values.telemetry.v2.prometheus.configOverride: is not supported any more, use a Telemetry object",
            "error spec.values.global.tracer.stackdriver.debug: is not supported any more, use meshConfig.extensionProviders",
            "warning spec.values.pilot.replicaCount: has no effect with autoscaleEnabled",
        ],
    );
}

#[test]
fn gateways() {
    check(
        "{components: {ingressGateways: [{enabled: true}, {name: A}, {name: a}, {name: a}]}}",
        &[
            "error spec.components.ingressGateways[0].name: is required",
            "error spec.components.ingressGateways[1].name: \"A\" must be at most 254 of a-z, 0-9, . and -",
            "error spec.components.ingressGateways[3].name: \"a\" is already at spec.components.ingressGateways[2]",
        ],
    );
    let ports = "components: {ingressGateways: [{name: a, k8s: {service: {ports: [{port: 80}, {port: 8080, targetPort: 80}]}}}]}";
    check(
        &format!("{{{ports}}}"),
        &[
            "error spec.components.ingressGateways[0].k8s.service.ports[0].port: the gateway can't listen below 1024: set targetPort, or spec.values.gateways.istio-ingressgateway.runAsRoot",
            "error spec.components.ingressGateways[0].k8s.service.ports[1].targetPort: the gateway can't listen below 1024: set targetPort, or spec.values.gateways.istio-ingressgateway.runAsRoot",
        ],
    );
    check(
        &format!(
            "{{{ports}, values: {{gateways: {{istio-ingressgateway: {{runAsRoot: true}}}}}}}}"
        ),
        &[],
    );
}

#[test]
fn kubernetes_types() {
    check(
        r#"
        components:
          pilot:
            k8s:
              affinity: {nodeAffinity: {required: {}}}
              env: [{name: A, value: 1}]
              hpaSpec: {metrics: [{type: Resource, resource: {name: cpu, targetAverageUtilization: 80}}]}
              service: {ports: [{port: http}], portz: []}
              resources: {requests: {cpu: 1}, limit: {cpu: 1}}
        "#,
        &[
            "error spec.components.pilot.k8s.service.portz: unknown field; did you mean ports?",
            "error spec.components.pilot.k8s.resources.limit: unknown field; did you mean limits?",
            "error spec.components.pilot.k8s.affinity.nodeAffinity.required: unknown field",
            "error spec.components.pilot.k8s.hpaSpec.metrics[0].resource.targetAverageUtilization: is of autoscaling/v2beta1; use target with type and averageUtilization or averageValue",
            "error spec.components.pilot.k8s.service.ports[0].port: invalid type: string \"http\", expected i32",
            "error spec.components.pilot.k8s.env[0].value: invalid type: integer `1`, expected a string",
        ],
    );
}

#[test]
fn settings_without_effect() {
    check(
        "{components: {base: {k8s: {replicaCount: 2}}, pilot: {k8s: {hpaSpec: {minReplicas: 1}, replicaCount: 2, overlays: [{name: a, patches: [{value: 1}]}]}}}}",
        &[
            "error spec.components.pilot.k8s.overlays[0].kind: is required",
            "error spec.components.pilot.k8s.overlays[0].patches[0].path: is required",
            "warning spec.components.pilot.k8s.replicaCount: an autoscaler overrides it",
            "warning spec.components.base.k8s.replicaCount: has no effect: only overlays have one here",
        ],
    );
}

#[test]
fn types_of_kubernetes_in_values() {
    check(
        r#"
        values:
          pilot:
            affinity: {nodeAfinity: {}}
            tolerations: [{key: 1}]
            volumes: [{name: a, configMap: {names: b}}]
          cni: {updateStrategy: {rollingUpdate: {maxUnavailable: []}}}
          gateways: {istio-ingressgateway: {ports: [{port: 80, nodePorts: 1}]}}
          global: {waypoint: {tolerations: [{effects: x}]}, proxy: {lifecycle: {preStop: {exe: {}}}}}
          sidecarInjectorWebhook: {neverInjectSelector: [{matchLabel: {}}]}
        "#,
        &[
            "error spec.values.pilot.affinity.nodeAfinity: unknown value; did you mean nodeAffinity?; what is not checked belongs into spec.unvalidatedValues",
            "error spec.values.cni.updateStrategy.rollingUpdate.maxUnavailable: invalid type: sequence, expected IntOrString",
            "error spec.values.gateways.istio-ingressgateway.ports[0].nodePorts: unknown field",
            "error spec.values.global.proxy.lifecycle.preStop.exe: unknown field",
            "error spec.values.global.waypoint.tolerations[0].effects: unknown field",
            "error spec.values.pilot.tolerations[0].key: invalid type: integer `1`, expected a string",
            "error spec.values.pilot.volumes[0].configMap.names: unknown field",
            "error spec.values.sidecarInjectorWebhook.neverInjectSelector[0].matchLabel: unknown field",
        ],
    );
}

#[test]
fn the_mesh_configuration() {
    check(
        r#"
        meshConfig:
          accessLogFile: /dev/stdout
          connectTimeout: 10s
          protocolDetectionTimeout: 0s
          neverHeardOf: {a: 1}
          defaultConfig: {concurrency: 2, discoveryAddress: "istiod.istio-system.svc:15012", proxyMetadata: {A: b}}
        "#,
        &[],
    );
    check(
        r#"
        meshConfig:
          accessLogFile: 5
          enableTracing: "true"
          connectTimeout: 0s
          dnsRefreshRate: soon
          trustDomainAliases: a
          defaultConfig: {discoveryAddress: istiod, proxyMetadata: []}
        values: {meshConfig: {rootNamespace: [x]}}
        "#,
        &[
            "error spec.meshConfig.accessLogFile: must be text, is a number; put it in quotes",
            "error spec.meshConfig.enableTracing: must be a boolean, is text; write true or false without quotes",
            "error spec.meshConfig.trustDomainAliases: must be a list, is text",
            "error spec.meshConfig.defaultConfig.proxyMetadata: must be an object, is a list",
            "error spec.meshConfig.dnsRefreshRate: \"soon\" is not a duration such as 1.5s, 300ms or 1h30m",
            "error spec.meshConfig.connectTimeout: \"0s\" is less than 1ms",
            "error spec.meshConfig.defaultConfig.discoveryAddress: \"istiod\" is no address such as istiod.istio-system.svc:15012",
            "error spec.values.meshConfig.rootNamespace: must be text, is a list",
        ],
    );
}

/// Every form that specs of 1.5 to 1.21 have: read, and named where it has no effect any more.
#[test]
fn legacy_forms() {
    let kept = r#"
        values:
          pilot:
            {resources: {requests: {cpu: 1}}, replicaCount: 1, env: {A: 1}, nodeSelector: {a: b}, tolerations: [],
             podAnnotations: {a: b}, rollingMaxSurge: 100%, rollingMaxUnavailable: 25%, cpu: {targetAverageUtilization: 80}}
          gateways:
            istio-ingressgateway:
              {type: NodePort, ports: [], serviceAnnotations: {a: b}, loadBalancerIP: "", loadBalancerSourceRanges: [],
               externalTrafficPolicy: Local, resources: {}, autoscaleMin: 1, podAnnotations: {}, secretVolumes: [], env: {},
               nodeSelector: {}}
          global: {arch: {amd64: 2}, defaultNodeSelector: {}, jwtPolicy: third-party-jwt}
        "#;
    check(kept, &[]);
    let gone = [
        "mixer",
        "galley",
        "security",
        "nodeagent",
        "grafana",
        "kiali",
        "tracing",
        "prometheus",
        "istiocoredns",
        "clusterResources",
        "version",
        "istio_cni.enabled",
        "istio_cni.chained",
        "gateways.istio-ingressgateway.zvpn",
        "gateways.istio-ingressgateway.meshExpansionPorts",
        "gateways.istio-ingressgateway.sds",
        "gateways.istio-ingressgateway.debug",
        "gateways.istio-ingressgateway.domain",
        "gateways.istio-ingressgateway.applicationPorts",
        "global.mtls",
        "global.proxy.accessLogFile",
        "global.proxy.concurrency",
        "global.outboundTrafficPolicy",
        "global.enableTracing",
        "global.meshExpansion",
        "global.k8sIngress",
        "global.trustDomain",
        "global.localityLbSetting",
        "global.useMCP",
        "global.oneNamespace",
        "global.centralIstiod",
        "global.controlPlaneSecurityEnabled",
        "global.disablePolicyChecks",
        "telemetry.v2.metadataExchange",
        "telemetry.v2.prometheus.wasmEnabled",
        "sidecarInjectorWebhook.objectSelector",
        "sidecarInjectorWebhook.injectLabel",
    ];
    for path in gone {
        let leaf = path
            .split('.')
            .rev()
            .fold(json!({}), |value, key| json!({key: value}));
        let object = json!({"kind": "IstioOperator", "spec": {"values": leaf}});
        let findings = ISTIO_OPERATOR.validate(&object);
        assert!(!findings.is_empty(), "{path} is not named");
        for finding in findings {
            assert!(!finding.is_error(), "{finding}");
            assert!(
                format!("spec.values.{path}").starts_with(&finding.path),
                "{finding}"
            );
            assert!(finding.message.starts_with("has no effect: "), "{finding}");
        }
    }
}
