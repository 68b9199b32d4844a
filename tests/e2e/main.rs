//! The whole-system tests, a module per topic.

mod peers;
