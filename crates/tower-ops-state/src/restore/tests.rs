use super::*;

#[test]
fn the_first_decides() {
    let gate = CommitGate::default();
    drop(AbandonOnDrop(gate.clone()));
    assert!(gate.is_abandoned());
    assert!(gate.abandon());
    assert!(gate.begin_commit().is_err());

    let gate = CommitGate::default();
    assert!(gate.begin_commit().is_ok());
    assert!(!gate.abandon());
    assert!(!gate.is_abandoned());
}
