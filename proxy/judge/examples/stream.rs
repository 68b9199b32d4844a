#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]
use std::path::Path;
use std::time::{Duration, Instant};
use judge::*;
fn roca(s: &[(bool, f64)]) -> f64 {
    let mut v: Vec<_> = s.to_vec();
    v.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (mut spam_below, mut bad, mut i) = (0f64, 0f64, 0);
    while i < v.len() {
        let mut j = i; let (mut h, mut sp) = (0f64, 0f64);
        while j < v.len() && v[j].1 == v[i].1 { if v[j].0 { sp += 1.0 } else { h += 1.0 } j += 1; }
        bad += h * (spam_below + sp / 2.0); spam_below += sp; i = j;
    }
    let spam = v.iter().filter(|x| x.0).count() as f64;
    100.0 * bad / (spam * (v.len() as f64 - spam))
}
fn sm_at(s: &[(bool, f64)], loss: f64) -> f64 {
    let mut h: Vec<f64> = s.iter().filter(|x| !x.0).map(|x| x.1).collect();
    h.sort_by(|a, b| b.total_cmp(a));
    let t = h[(h.len() as f64 * loss) as usize];
    let sp = s.iter().filter(|x| x.0).count() as f64;
    100.0 * s.iter().filter(|x| x.0 && x.1 <= t).count() as f64 / sp
}
fn report(name: &str, s: &[(bool, f64)], bound: f64) {
    let ham = s.iter().filter(|x| !x.0).count() as f64;
    let spam = s.len() as f64 - ham;
    let hm = s.iter().filter(|x| !x.0 && x.1 >= bound).count() as f64;
    let sm = s.iter().filter(|x| x.0 && x.1 < bound).count() as f64;
    println!("{name:12} 1-ROCA {:.4} hm {:.3} sm {:.3} sm@.1 {:.2} sm@1 {:.2}", roca(s), 100.0 * hm / ham, 100.0 * sm / spam, sm_at(s, 0.001), sm_at(s, 0.01));
}
fn main() {
    let mut a = std::env::args().skip(1);
    let index = a.next().unwrap();
    let flags: Vec<String> = a.collect();
    let masked = flags.iter().any(|f| f == "body");
    let members = flags.iter().any(|f| f == "members");
    let folder = Path::new(&index).parent().unwrap();
    let model = Model::in_memory(Settings::default());
    let mut scores = vec![]; let mut by: Vec<Vec<(bool, f64)>> = vec![vec![]; 4];
    let (mut tr, mut ts, mut tl) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut worst = Duration::ZERO;
    let text = std::fs::read_to_string(&index).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    if let Some(seed) = flags.iter().find_map(|f| f.strip_prefix("seed=")?.parse::<u64>().ok()) {
        // each class in its own order, interleaved anew
        let (mut ham, mut spam): (Vec<_>, Vec<_>) = lines.iter().partition(|l| l.starts_with("ham"));
        ham.reverse(); spam.reverse();
        let mut x = seed * 2 + 1; lines.clear();
        while !(ham.is_empty() && spam.is_empty()) {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let take_spam = ((x >> 33) as usize % (ham.len() + spam.len())) < spam.len();
            lines.push(if take_spam { spam.pop().unwrap() } else { ham.pop().unwrap() });
        }
    }
    for (n, line) in lines.iter().enumerate() {
        let mut w = line.split(' ');
        let spam = w.next().unwrap() == "spam";
        let bytes = std::fs::read(folder.join(w.next().unwrap())).unwrap();
        let t0 = Instant::now();
        let mut c = sift::read(&bytes, &sift::Bounds::default());
        if masked { c.fields.clear(); c.from.clear(); c.reply_to.clear(); c.to.clear(); c.message_id.clear(); }
        let f = Features::of(&c, &Transport::default());
        let t1 = Instant::now();
        let now = Duration::from_secs(1_700_000_000 + n as u64);
        let s = model.score(&f, Whom::default(), now);
        let t2 = Instant::now();
        scores.push((spam, s.log_odds));
        if members { for (m, e) in model.explain(&f, Whom::default(), &[], &Thresholds::default(), now).members.iter().enumerate() { by[m].push((spam, e.share)); } }
        let t3 = Instant::now();
        model.learn(&Lesson { features: &f, class: if spam { Class::Spam } else { Class::Ham }, source: Source::Administrator, weight: 1.0, whom: Whom::default(), now }).unwrap();
        tr += t1 - t0; ts += t2 - t1; tl += t3.elapsed(); worst = worst.max(t2 - t0);
    }
    let n = scores.len() as f64;
    let bound = 4f64.ln();
    report("all", &scores, bound);
    if scores.len() > 2000 { report("after 1000", &scores[1000..], bound); }
    for (m, s) in by.iter().enumerate() { if members { report(["bayes", "chain", "sections", "letters"][m], s, 0.0);
        let mean = |want: bool| { let v: Vec<f64> = s.iter().skip(1000).filter(|x| x.0 == want).map(|x| x.1).collect(); v.iter().sum::<f64>() / v.len().max(1) as f64 };
        println!("   mean ham {:.2} spam {:.2}", mean(false), mean(true)); } }
    if flags.iter().any(|f| f == "worst") {
        let mut v: Vec<_> = scores.iter().zip(&lines).collect();
        v.sort_by(|a, b| b.0.1.total_cmp(&a.0.1));
        for x in v.iter().filter(|x| !x.0.0).take(12) { println!("{:.2} {}", x.0.1, x.1); }
        for x in v.iter().rev().filter(|x| x.0.0).take(12) { println!("{:.2} {}", x.0.1, x.1); }
    }
    println!("read+features {:.0}/s score {:.0}/s learn {:.0}/s all scored {:.0}/s scored+trained {:.0}/s worst {:?}", n / tr.as_secs_f64(), n / ts.as_secs_f64(), n / tl.as_secs_f64(), n / (tr + ts).as_secs_f64(), n / (tr + ts + tl).as_secs_f64(), worst);
}
