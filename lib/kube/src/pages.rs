//! Lists that are read page by page, so that a large cluster costs no more memory than a page.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::ListParams;

/// Objects of one page.
const LIMIT: u32 = 500;

/// The requests of one list.
#[derive(Debug)]
pub struct Pages(Option<ListParams>);

impl Pages {
    /// The pages of what `params` ask for.
    pub fn of(params: ListParams) -> Self {
        Self(Some(params.limit(LIMIT)))
    }

    /// Parameters of the next request; none after the last page.
    pub fn next_request(&self) -> Option<&ListParams> {
        self.0.as_ref()
    }

    /// Takes note of the answer to that request.
    pub fn answered(&mut self, page: &ListMeta) {
        let token = page.continue_.as_deref().filter(|token| !token.is_empty());
        self.0 = match (self.0.take(), token) {
            (Some(params), Some(token)) => Some(params.continue_token(token)),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_with_the_one_that_names_no_other() {
        let page = |token: Option<&str>| ListMeta {
            continue_: token.map(str::to_owned),
            ..ListMeta::default()
        };
        let mut pages = Pages::of(ListParams::default().labels("a=b"));
        let tokens = [
            (None, Some("x")),
            (Some("x"), Some("y")),
            (Some("y"), Some("")),
        ];
        for (sent, answered) in tokens {
            let request = pages.next_request().expect("another page");
            assert_eq!(request.label_selector.as_deref(), Some("a=b"));
            assert_eq!(request.continue_token.as_deref(), sent);
            assert_eq!(request.limit, Some(LIMIT));
            pages.answered(&page(answered));
        }
        assert!(pages.next_request().is_none());
    }
}
