// A media server in JavaScript, written from what is on the wire: one call, whose echo is checked.
// Usage: node --experimental-websocket asp.mjs URL VERSION; VERSION is 1.0.0 or 1.1.0.

import { createHash } from "node:crypto";

const [url, version] = process.argv.slice(2);
const newest = version === "1.1.0";
const FRAMES = 200; // twice as many as are acknowledged at once
const id = `node ${version}`;
const key = createHash("md5").update(id).digest().subarray(0, 8);
const speech = Buffer.alloc(320 * FRAMES);
for (let at = 0; at < speech.length; at += 2) speech.writeInt16LE((at * 7) % 32768, at);

let stream = 0;
const heard = [];
const told = [];

function frame(number) {
  const payload = speech.subarray(number * 320, (number + 1) * 320);
  if (!newest) return Buffer.concat([Buffer.from([1, 0]), key, Buffer.alloc(2), payload]);
  const head = Buffer.alloc(16);
  head.writeUInt8(0xa5, 0);
  head.writeUInt8(0x11, 1);
  head.writeUInt16LE(stream, 2);
  head.writeUInt32LE(number, 4);
  head.writeUInt32LE(number * 160, 8);
  return Buffer.concat([head, payload]);
}

const socket = new WebSocket(url, ["asp.v1"]);
socket.binaryType = "arraybuffer";
const say = (type, members = {}) =>
  socket.send(JSON.stringify({ type, session_id: id, ...members }));

const answers = {
  "protocol.capabilities": () => {
    const more = { version, features: ["session_resume"], audio: { framing: "asp16" } };
    say("session.start", newest ? more : { call_id: "c", audio: { sample_rate: 8000 }, vad: {} });
  },
  "session.started": (message) => {
    stream = message.stream ?? 0;
    for (let number = 0; number < FRAMES; number += 1) socket.send(frame(number));
    say("audio.end");
  },
  "response.end": () => say("session.end", { reason: "hangup" }),
  "session.ended": () => socket.close(1000),
};

socket.addEventListener("message", ({ data }) => {
  if (typeof data !== "string") {
    heard.push(Buffer.from(data).subarray(newest ? 16 : 12));
    return;
  }
  const message = JSON.parse(data);
  told.push(message.type);
  answers[message.type]?.(message);
});
socket.addEventListener("close", ({ code }) => {
  const whole = Buffer.concat(heard).equals(speech);
  console.log(JSON.stringify({ protocol: socket.protocol, code, whole, told }));
});
