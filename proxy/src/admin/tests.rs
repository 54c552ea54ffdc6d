use super::*;

#[test]
fn queries_are_decoded() {
    let request = http::Request::builder()
        .uri("/stats?filter=cluster%5C.a&usedonly&format=json")
        .body(Bytes::new())
        .expect("a request");
    let query = Query::of(&request);
    assert_eq!(query.get("filter"), Some("cluster\\.a"));
    assert!(query.has("usedonly") && query.is_json() && !query.has("absent"));
}
