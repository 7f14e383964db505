use super::*;

#[test]
fn the_first_decides() {
    let gate = CommitGate::default();
    drop(gate.abandon_on_drop());
    assert!(gate.is_abandoned());
    assert!(gate.abandon());
    assert!(!gate.begin_commit());

    let gate = CommitGate::default();
    assert!(gate.begin_commit());
    assert!(!gate.abandon());
    assert!(!gate.is_abandoned());
}
