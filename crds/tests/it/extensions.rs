use ironsail_crds::kind::{TRAFFIC_EXTENSION, WASM_PLUGIN};

#[track_caller]
fn plugin(spec: &str, expected: &[&str]) {
    crate::check(&WASM_PLUGIN, spec, expected);
}

#[track_caller]
fn extension(spec: &str, expected: &[&str]) {
    crate::check(&TRAFFIC_EXTENSION, spec, expected);
}

const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn accepts_plugins() {
    for url in [
        "registry.example.com/a:b",
        "oci://registry.example.com/a@sha256:b",
        "https://example.com/a.wasm",
        "file:///a.wasm",
    ] {
        plugin(&format!("url: \"{url}\""), &[]);
    }
    plugin(
        &format!(
            r#"
            url: oci://registry.example.com/a
            sha256: {SHA}
            imagePullPolicy: Always
            imagePullSecret: a
            phase: AUTHN
            priority: 0
            failStrategy: FAIL_OPEN
            type: HTTP
            pluginName: a
            pluginConfig: {{a: [{{b: null}}, 1.5]}}
            vmConfig: {{env: [{{name: A, value: b}}, {{name: C, valueFrom: HOST}}]}}
            match: [{{mode: CLIENT, ports: [{{number: 80}}]}}]
            "#
        ),
        &[],
    );
}

#[test]
fn plugins() {
    plugin("{}", &["error spec.url: is required"]);
    plugin(
        "{url: \"ftp://a\", sha256: ABC}",
        &[
            "error spec.sha256: \"ABC\" does not match (^$|^[a-f0-9]{64}$)",
            "error spec.url: \"ftp://a\" must have one of the schemes oci, http, https, file",
        ],
    );
    plugin(
        "url: \"https://\"",
        &["error spec.url: \"https://\" has nothing behind its scheme"],
    );
    plugin(
        "url: \"a b\"",
        &["error spec.url: \"a b\" must not have spaces or control characters"],
    );
    plugin(
        "{url: a, verificationKey: b, imagePullSecret: \"\", vmConfig: {env: [{name: A, value: b, valueFrom: HOST}, {name: A}, {}]}}",
        &[
            "error spec.imagePullSecret: must not be empty",
            "error spec.vmConfig.env[1]: has the same name as spec.vmConfig.env[0]",
            "error spec.vmConfig.env[2].name: is required",
            "warning spec.verificationKey: has no effect: not implemented by any version",
            "error spec.vmConfig.env[0].value: can't be set: valueFrom HOST takes the proxy's own",
        ],
    );
    plugin(
        "{url: a, match: [{ports: [{number: 0}, {number: 65536}, {number: 80}, {number: 80}]}]}",
        &[
            "error spec.match[0].ports[3]: has the same number as spec.match[0].ports[2]",
            "error spec.match[0].ports[0].number: 0 is less than 1",
            "error spec.match[0].ports[1].number: 65536 is more than 65535",
        ],
    );
    plugin(
        "{url: a, selector: {matchLabels: {app: a}}, targetRefs: [{kind: Service, name: a}]}",
        &["error spec: only one of selector, targetRefs can be set"],
    );
}

#[test]
fn accepts_extensions() {
    extension("lua: {inlineCode: \"return\"}", &[]);
    extension(
        "{wasm: {url: a}, phase: STATS, priority: 5, match: [{mode: SERVER}], selector: {matchLabels: {app: a}}}",
        &[],
    );
}

#[test]
fn extensions() {
    extension("{}", &["error spec: must have wasm or lua"]);
    extension(
        "{wasm: {url: a}, lua: {inlineCode: b}}",
        &["error spec: only one of wasm, lua can be set"],
    );
    extension(
        "lua: {inlineCode: \"\"}",
        &["error spec.lua.inlineCode: must not be empty"],
    );
    extension("lua: {}", &["error spec.lua.inlineCode: is required"]);
    let large = "a".repeat(65_537);
    extension(
        &format!("lua: {{inlineCode: {large}}}"),
        &["error spec.lua.inlineCode: must have at most 65536 characters"],
    );
    extension(
        "wasm: {url: \"ftp://a\"}",
        &["error spec.wasm.url: \"ftp://a\" must have one of the schemes oci, http, https, file"],
    );
}
