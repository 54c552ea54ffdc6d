//! The wire: messages, type URLs, packing, protobuf JSON.
