//! Time series of certificates. Names come from the config and from the DNS of its domains, and are as few as these.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::report::{Live, TlsaMatch};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProblemLabels {
    name: String,
    problem: &'static str,
}

/// Gauges, as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct CertificateMetrics {
    expiry: Family<NameLabel, Gauge>,
    problem: Family<ProblemLabels, Gauge>,
}

impl CertificateMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "The last second of the certificate's validity, since 1970";
        r.register_with_unit("certificate_expiry", help, Unit::Seconds, self.expiry.clone());
        let help = "1 while something is wrong: order (no certificate comes), name (the CA does not validate it), tlsa (published \
                    records do not match), off (nothing can be ordered)";
        r.register("certificate_problem", help, self.problem.clone());
    }

    /// Fills the gauges in.
    pub(super) fn show(&self, live: &dyn Live) {
        self.expiry.clear();
        for certificate in live.certificates() {
            let name = certificate.names.into_iter().next().unwrap_or_default();
            let expires = i64::try_from(certificate.expires).unwrap_or(i64::MAX);
            self.expiry.get_or_create(&NameLabel { name }).set(expires);
        }
        self.problem.clear();
        let wrong = |name: &str, problem| {
            let labels = ProblemLabels { name: name.to_owned(), problem };
            self.problem.get_or_create(&labels).set(1);
        };
        let certifying = live.certifying();
        if certifying.hindrance.is_some() {
            wrong("", "off");
        }
        for order in &certifying.orders {
            if order.problem.is_some() {
                wrong(&order.id, "order");
            }
            order.left_out.iter().for_each(|one| wrong(&one.name, "name"));
        }
        let mismatched = certifying.tlsa.iter().filter(|host| host.state == TlsaMatch::Wrong);
        mismatched.for_each(|host| wrong(&host.host, "tlsa"));
    }
}
