//! Real handshakes: Postern's two sides with each other, with plain rustls clients that speak less, and with OpenSSL.

mod choice;
mod interception;
mod legs;
mod material;
mod old_clients;
mod openssl;
mod recording;
