//! Findings as text for a person and as JSON for programs.

use std::fmt::Write;

use serde_json::json;

use super::Fixed;
use crate::doctor::{Finding, Fix, Severity};

/// Columns that a line takes at the most, unless a command is longer.
const WIDTH: usize = 110;
/// Columns of the severity, and of the words below it.
const INDENT: usize = 9;
const LABEL: usize = 5;

/// One paragraph per finding, and how many there are; in colour on a terminal.
pub(super) fn text(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let name = format!("{:<INDENT$}", finding.severity.name());
        let name = if colour { format!("{}{name}\x1b[0m", paint(finding.severity)) } else { name };
        let indent = " ".repeat(INDENT);
        let what = wrap(&finding.what, WIDTH - INDENT, &indent);
        let _ = writeln!(text, "{name}{what}");
        let below = " ".repeat(INDENT + LABEL);
        let _ =
            writeln!(text, "{indent}{:<LABEL$}{}", "why", wrap(&finding.why, WIDTH - INDENT - LABEL, &below));
        let command = finding.fix.command();
        if !command.is_empty() {
            let safe = matches!(finding.fix, Fix::Safe(_)) && finding.severity != Severity::Note;
            let hint = if safe { "    (--fix does it)" } else { "" };
            let _ = writeln!(text, "{indent}{:<LABEL$}{command}{hint}", "fix");
        }
        text.push('\n');
    }
    text + &summary(findings) + "\n"
}

const fn paint(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "\x1b[1;31m",
        Severity::Warning => "\x1b[1;33m",
        Severity::Note => "\x1b[36m",
    }
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

fn summary(findings: &[Finding]) -> String {
    let counted = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
        let count = count(findings, severity);
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {}{plural}", severity.name())
    });
    counted.join(", ")
}

/// Words in lines of so many columns; lines but the first begin with `indent`.
fn wrap(text: &str, width: usize, indent: &str) -> String {
    let (mut wrapped, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            wrapped.push('\n');
            wrapped.push_str(indent);
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

/// `ok`: no errors; `errors`, `warnings`, `notes`: how many; `findings`: each as [`Finding`] is documented; `fixed`, where fixes
/// were asked for: `check`, `subject`, `command`, `outcome`.
pub(super) fn json(findings: &[Finding], fixed: Option<&Vec<Fixed>>) -> String {
    let mut answer = json!({
        "ok": count(findings, Severity::Error) == 0,
        "errors": count(findings, Severity::Error),
        "warnings": count(findings, Severity::Warning),
        "notes": count(findings, Severity::Note),
        "findings": findings,
    });
    if let Some(fixed) = fixed {
        answer["fixed"] = json!(fixed);
    }
    format!("{answer:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Action;

    fn findings() -> Vec<Finding> {
        let raise = Action::Raise { interface: "eth1".into() };
        vec![
            Finding::error("interface-down", "eth1", "eth1 is down").because("no frame comes").safely(raise),
            Finding::note("clocksource", "clock", "word ".repeat(40)).because("slow"),
        ]
    }

    #[test]
    fn a_person_reads_paragraphs_that_are_aligned() {
        let text = text(&findings(), false);
        let start = "error    eth1 is down\n         why  no frame comes\n         fix  ip link set dev eth1 up    (--fix does it)\n\n";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("\n\n1 error, 0 warnings, 1 note\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("\n         word"), "wrapped lines are indented");
        assert!(!text.contains('\x1b') && super::text(&findings(), true).contains("\x1b[1;31merror"));
        assert_eq!(super::text(&[], false), "0 errors, 0 warnings, 0 notes\n");
    }

    #[test]
    fn programs_read_counts_and_findings() {
        let value: serde_json::Value = serde_json::from_str(&json(&findings(), None)).unwrap();
        assert_eq!((&value["ok"], &value["errors"], &value["notes"]), (&false.into(), &1.into(), &1.into()));
        assert_eq!(value["findings"][0]["check"], "interface-down");
        assert!(value.get("fixed").is_none());
        let fixed = Fixed { check: "a", subject: "b".into(), command: "c".into(), outcome: "done".into() };
        let value: serde_json::Value = serde_json::from_str(&json(&[], Some(&vec![fixed]))).unwrap();
        assert_eq!((&value["ok"], &value["fixed"][0]["outcome"]), (&true.into(), &"done".into()));
    }
}
