// Every event by its time. The key is unique: [time, stamp], where the stamp puts events of equal
// times in the order of their arrival. From 2^53 on, JavaScript rounds; then it is [time, rest, stamp],
// and the rest is how far the exact time lies from the rounded one. The value is the event's exact
// JSON as a text, or null where only the document itself tells it: of documents that KPIggyBank did
// not write nobody knows whether JavaScript can hold their numbers. See documents.py.
function (doc) {
  var time = doc.timestamp;
  if (typeof time !== "number" || !isFinite(time)) {
    return;
  }
  var minted = /^[0-9a-f]{28}$/;
  var note = doc.kpiggybank;
  if (!note || !minted.test(note.arrival)) {
    note = null;
  }
  var text = null;
  if (note && typeof note.json === "string") {
    text = note.json;
  } else if (note || minted.test(doc._id)) {
    var event = {};
    for (var name in doc) {
      if (name.charAt(0) !== "_" && !(note && name === "kpiggybank")) {
        event[name] = doc[name];
      }
    }
    text = JSON.stringify(event);
  }
  var stamp = note ? note.arrival : doc._id;
  if (Math.abs(time) < 9007199254740992) {
    emit([time, stamp], text);
  } else {
    emit([time, note && note.rest || 0, stamp], text);
  }
}
