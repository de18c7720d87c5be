// The client of @a2a-js/sdk against an agent: `node client.mjs URL 1.0|0.3`, JSON lines out.
// With 0.3 it is the SDK's own compatibility layer that speaks.

import { randomUUID } from "node:crypto";
import process from "node:process";
import { roleToJSON, taskStateToJSON } from "@a2a-js/sdk";
import {
  ClientFactory,
  DefaultAgentCardResolver,
  JsonRpcTransportFactory,
} from "@a2a-js/sdk/client";

const [url, version] = process.argv.slice(2);

const state = (value) => taskStateToJSON(value).replace("TASK_STATE_", "").toLowerCase();
const text = (parts) =>
  parts.map(({ content }) => (content.$case === "text" ? content.value : "")).join("");
const said = (status) => (status.message === undefined ? "" : text(status.message.parts));

function part({ content, filename, mediaType }) {
  const { $case: kind, value } = content;
  return [kind, kind === "raw" ? value.toString("base64") : value, filename, mediaType];
}

const artifact = ({ artifactId, parts }) => ({ id: artifactId, parts: parts.map(part) });

const task = (task) => ({
  kind: "task",
  id: task.id,
  context: task.contextId,
  state: state(task.status.state),
  said: said(task.status),
  artifacts: task.artifacts.map(artifact),
  history: task.history.map(({ role, parts }) => [
    roleToJSON(role).replace("ROLE_", "").toLowerCase(),
    text(parts),
  ]),
});

function event({ payload: { $case: kind, value } }) {
  if (kind === "task") {
    return task(value);
  }
  if (kind === "message") {
    return { kind, said: text(value.parts) };
  }
  const ids = { id: value.taskId, context: value.contextId };
  if (kind === "statusUpdate") {
    return { kind: "status", ...ids, state: state(value.status.state), said: said(value.status) };
  }
  return {
    kind: "artifact",
    ...ids,
    artifact: artifact(value.artifact),
    append: value.append,
    last: value.lastChunk,
  };
}

function saying(words, { parts = [], taskId = "", now = false } = {}) {
  const spoken = { content: { $case: "text", value: words }, filename: "", mediaType: "" };
  return {
    tenant: "",
    message: {
      messageId: randomUUID(),
      contextId: "",
      taskId,
      role: 1,
      parts: [spoken, ...parts],
      extensions: [],
      referenceTaskIds: [],
    },
    configuration: { acceptedOutputModes: [], returnImmediately: now },
  };
}

async function all(events) {
  const seen = [];
  for await (const item of events) {
    seen.push(event(item));
  }
  return seen;
}

async function code(ask) {
  try {
    return `no error, but ${JSON.stringify(await ask())}`;
  } catch (error) {
    return error.envelopeCode ?? `${error.name}: ${error.message}`;
  }
}

const scenario = (name, seen) => console.log(JSON.stringify({ scenario: name, ...seen }));

const compatible = { legacyCompat: { enabled: version === "0.3" } };
const factory = new ClientFactory({
  transports: [new JsonRpcTransportFactory(compatible)],
  cardResolver: new DefaultAgentCardResolver(compatible),
});
const card = await new DefaultAgentCardResolver(compatible).resolve(url);
scenario("card", {
  name: card.name,
  description: card.description,
  version: card.version,
  skills: card.skills.map(({ id, description }) => [id, description]),
  streaming: card.capabilities.streaming,
  interfaces: card.supportedInterfaces.map((offered) => [
    offered.url,
    offered.protocolBinding,
    offered.protocolVersion,
  ]),
});
card.supportedInterfaces = card.supportedInterfaces.filter(
  ({ protocolVersion }) => protocolVersion === version,
);
const client = await factory.createFromAgentCard(card);

const send = (words, more) => client.sendMessage(saying(words, more));
const stream = (words, more) => client.sendMessageStream(saying(words, more));
const subscribe = (id) => client.resubscribeTask({ tenant: "", id });
const next = async (events) => event((await events.next()).value);

async function begin(words) {
  const events = stream(words);
  const seen = [];
  do {
    seen.push(await next(events));
  } while (seen.at(-1).kind !== "artifact");
  return [seen, events];
}

for (const [name, words] of [
  ["stream", "Olá, como posso ajudar? 🙂"],
  ["failure", "fail"],
  ["refusal", "refuse"],
]) {
  scenario(name, { events: await all(stream(words)) });
}

{
  const sent = await send("um dois três");
  const got = await client.getTask({ tenant: "", id: sent.id });
  const short = await client.getTask({ tenant: "", id: sent.id, historyLength: 0 });
  scenario("send", { sent: task(sent), got: task(got), short: task(short) });
  const parts = [
    {
      content: { $case: "data", value: { mesa: 7, nomes: ["Ana", null], ok: true } },
      filename: "",
      mediaType: "",
    },
    {
      content: { $case: "raw", value: Buffer.from("AP9ieXRlcw==", "base64") },
      filename: "a.bin",
      mediaType: "application/octet-stream",
    },
    {
      content: { $case: "url", value: "https://example.com/b.png" },
      filename: "b.png",
      mediaType: "image/png",
    },
  ];
  scenario("parts", { task: task(await send("show", { parts })) });
}

{
  const [seen, rest] = await begin(`hold ${randomUUID()}`);
  const { id } = seen[0];
  const canceled = task(await client.cancelTask({ tenant: "", id }));
  const again = await code(() => client.cancelTask({ tenant: "", id }));
  scenario("cancel", { events: [...seen, ...(await all(rest))], canceled, again });
}

{
  const word = randomUUID();
  const [seen, rest] = await begin(`hold ${word}`);
  const joined = subscribe(seen[0].id);
  const others = [await next(joined)];
  await send(`release ${word}`);
  scenario("subscribe", {
    first: [...seen, ...(await all(rest))],
    second: [...others, ...(await all(joined))],
  });
}

{
  const word = randomUUID();
  const begun = await send(`hold ${word}`, { now: true });
  const joined = subscribe(begun.id);
  const others = [await next(joined)];
  await send(`release ${word}`);
  scenario("immediate", { begun: task(begun), events: [...others, ...(await all(joined))] });
}

{
  const rounds = [];
  for (const words of ["book", "sexta", "quatro"]) {
    const taskId = rounds.length > 0 ? rounds[0][0].id : "";
    rounds.push(await all(stream(words, { taskId })));
  }
  const asked = await send("book");
  const askedAgain = await send("sábado", { taskId: asked.id });
  const done = await send("duas", { taskId: asked.id });
  scenario("turns", { rounds, answers: [asked, askedAgain, done].map(task) });
}

{
  const { id: done } = await send("pronto");
  const push = { tenant: "", id: "p", taskId: done, url: "https://example.com/push", token: "" };
  const codes = {
    "get unknown": await code(() => client.getTask({ tenant: "", id: "nobody" })),
    "cancel unknown": await code(() => client.cancelTask({ tenant: "", id: "nobody" })),
    "cancel finished": await code(() => client.cancelTask({ tenant: "", id: done })),
    "send to unknown": await code(() => send("oi", { taskId: "nobody" })),
    "send to finished": await code(() => send("oi", { taskId: done })),
    "stream to unknown": await code(() => all(stream("oi", { taskId: "nobody" }))),
    "subscribe to unknown": await code(() => all(subscribe("nobody"))),
    push: await code(() => client.createTaskPushNotificationConfig(push)),
  };
  if (version === "1.0") {
    codes.list = await code(() => client.listTasks({ tenant: "" }));
    codes["subscribe to finished"] = await code(() => all(subscribe(done)));
    scenario("errors", { codes });
  } else {
    scenario("errors", { codes, finished: await all(subscribe(done)) });
  }
}
