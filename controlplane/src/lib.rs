//! Discovery, certificate authority and webhooks.
