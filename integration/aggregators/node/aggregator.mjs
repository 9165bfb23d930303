// The same aggregate by hand with undici, for `cargo aggregates`: `node aggregator.mjs PORT NAME=URL...` answers GET /page with an object
// that has a member for each NAME, the JSON that its URL answers with.

import { createServer } from "node:http";
import { Pool } from "undici";

const [port, ...parts] = process.argv.slice(2);

const calls = parts.map((part) => {
  const [name, url] = part.split(/=(.*)/);
  const { origin, pathname } = new URL(url);
  return { name, path: pathname, pool: new Pool(origin, { connections: 64 }) };
});

async function part({ name, path, pool }) {
  const { statusCode, body } = await pool.request({ method: "GET", path });
  if (statusCode !== 200) {
    await body.dump();
    throw new Error(`${name} answered ${statusCode}`);
  }
  return [name, await body.json()];
}

const server = createServer(async (request, response) => {
  let status = 200;
  let answer;
  if (request.url !== "/page") {
    [status, answer] = [404, { error: "not found" }];
  } else {
    try {
      answer = Object.fromEntries(await Promise.all(calls.map(part)));
    } catch (error) {
      [status, answer] = [502, { error: error.message }];
    }
  }
  const text = JSON.stringify(answer);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
});
server.keepAliveTimeout = 75_000;
server.listen(Number(port), "127.0.0.1");
