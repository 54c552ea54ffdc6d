//! Our Bookinfo: four services with the shape of the well-known example, written anew.
//!
//! `productpage` asks `details` and `reviews`; versions v2 and v3 of `reviews` ask `ratings`. A service that cannot
//! be reached shows as an error in its place, and the page answers 500, so that a load test sees it.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::client::Client;
use crate::echo::json_response;
use crate::server::{Body, full, serve_http};

#[derive(Clone, Copy, ValueEnum)]
pub enum Service {
    Productpage,
    Details,
    Reviews,
    Ratings,
}

#[derive(Args, Clone)]
pub struct Options {
    service: Service,
    #[arg(long, default_value = "0.0.0.0:9080")]
    listen: SocketAddr,
    #[arg(long, env = "VERSION", default_value = "v1")]
    version: String,
    #[arg(long, env = "DETAILS_URL", default_value = "http://details:9080")]
    details_url: String,
    #[arg(long, env = "REVIEWS_URL", default_value = "http://reviews:9080")]
    reviews_url: String,
    #[arg(long, env = "RATINGS_URL", default_value = "http://ratings:9080")]
    ratings_url: String,
}

#[derive(Clone)]
struct App {
    options: Options,
    client: Client,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let app = App {
        client: Client::new()?,
        options: options.clone(),
    };
    serve_http(options.listen, move |request, _| {
        let app = app.clone();
        async move { app.answer(request).await }.boxed()
    })
    .await
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/health" {
            return Response::new(full("ok"));
        }
        let headers = request.headers();
        let answer = match (self.options.service, path.as_str()) {
            (Service::Productpage, "/productpage" | "/") => return self.page(headers).await,
            (Service::Details, _) => Ok(details()),
            (Service::Ratings, _) => Ok(json!({"id": 0, "ratings": {"ada": 5, "grace": 4}})),
            (Service::Reviews, _) => self.reviews(headers).await,
            _ => {
                let mut response = Response::new(full("not found"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                return response;
            }
        };
        let mut response = match answer {
            Ok(value) => json_response(&value),
            Err(error) => {
                let mut response = json_response(&json!({"error": format!("{error:#}")}));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        };
        if let Ok(version) = HeaderValue::from_str(&self.options.version) {
            response.headers_mut().insert("x-version", version);
        }
        response
    }

    async fn ask(&self, url: &str, headers: &HeaderMap) -> anyhow::Result<(Value, String)> {
        let answer = self.client.get(url, headers).await?;
        anyhow::ensure!(answer.status == 200, "{url} answered {}", answer.status);
        let version = answer
            .headers
            .get("x-version")
            .and_then(|value| value.to_str().ok())
            .unwrap_or("unknown");
        Ok((serde_json::from_slice(&answer.body)?, version.to_owned()))
    }

    async fn reviews(&self, headers: &HeaderMap) -> anyhow::Result<Value> {
        let mut reviews = json!([
            {"reviewer": "ada", "text": "I read it on the train and missed my stop."},
            {"reviewer": "grace", "text": "Short, and still too long for a compiler."},
        ]);
        let colour = match self.options.version.as_str() {
            "v1" => None,
            "v2" => Some("black"),
            _ => Some("red"),
        };
        if let Some(colour) = colour {
            let url = format!("{}/ratings/0", self.options.ratings_url);
            let (ratings, _) = self.ask(&url, headers).await?;
            for review in reviews.as_array_mut().into_iter().flatten() {
                let reviewer = review["reviewer"].as_str().unwrap_or_default().to_owned();
                review["stars"] = ratings["ratings"][reviewer].clone();
                review["colour"] = colour.into();
            }
        }
        Ok(json!({"id": 0, "version": self.options.version, "reviews": reviews}))
    }

    async fn page(&self, headers: &HeaderMap) -> Response<Body> {
        let details_url = format!("{}/details/0", self.options.details_url);
        let reviews_url = format!("{}/reviews/0", self.options.reviews_url);
        let (details, reviews) = futures::join!(
            self.ask(&details_url, headers),
            self.ask(&reviews_url, headers)
        );
        let failed = details.is_err() || reviews.is_err();
        let version = reviews.as_ref().map(|(_, version)| version.clone()).ok();
        let mut response = Response::new(full(render(&details, &reviews)));
        if failed {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let headers = response.headers_mut();
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        if let Some(value) = version.and_then(|v| HeaderValue::from_str(&v).ok()) {
            headers.insert("x-reviews-version", value);
        }
        response
    }
}

fn details() -> Value {
    json!({
        "id": 0,
        "title": "The Sea Around the Mesh",
        "pages": 212,
        "language": "English",
        "publisher": "Harbour Press",
    })
}

fn render(
    details: &anyhow::Result<(Value, String)>,
    reviews: &anyhow::Result<(Value, String)>,
) -> String {
    let mut page = String::from("<!doctype html><title>Bookinfo</title><h1>Bookinfo</h1>\n");
    match details {
        Ok((book, _)) => page.push_str(&format!(
            "<h2>{}</h2><p>{} pages, {}</p>\n",
            book["title"].as_str().unwrap_or("?"),
            book["pages"],
            book["publisher"].as_str().unwrap_or("?"),
        )),
        Err(error) => page.push_str(&format!("<p>details: {error:#}</p>\n")),
    }
    match reviews {
        Ok((answer, version)) => {
            page.push_str(&format!("<h2>Reviews ({version})</h2>\n"));
            for review in answer["reviews"].as_array().into_iter().flatten() {
                let stars = review["stars"].as_u64().unwrap_or(0);
                page.push_str(&format!(
                    "<blockquote>{} <cite>{}</cite> {}</blockquote>\n",
                    review["text"].as_str().unwrap_or("?"),
                    review["reviewer"].as_str().unwrap_or("?"),
                    "★".repeat(usize::try_from(stars).unwrap_or(0)),
                ));
            }
        }
        Err(error) => page.push_str(&format!("<p>reviews: {error:#}</p>\n")),
    }
    page
}
