// What a user of ioredis does: plain calls, pipelines, transactions, pub/sub, scanning streams.
//
// Usage: node ioredis.js PORT

const assert = require("node:assert");
const Redis = require("ioredis");

const port = Number(process.argv[2]);

async function strings(redis) {
  assert.equal(await redis.set("k", "v", "EX", 100), "OK");
  assert.equal(await redis.get("k"), "v");
  assert.equal(await redis.set("k", "w", "NX"), null);
  assert.equal(await redis.mset({ a: 1, b: 2, c: 3 }), "OK");
  assert.deepEqual(await redis.mget("a", "missing", "c"), ["1", null, "3"]);
  assert.equal(await redis.incrby("a", 41), 42);
  assert.equal(await redis.getdel("b"), "2");
  const big = Buffer.alloc(100_000, 0xfe);
  await redis.set("big", big);
  assert.ok((await redis.getBuffer("big")).equals(big));
  assert.equal(await redis.bitcount("big"), 700_000);
}

async function pipelines(redis) {
  const pipeline = redis.pipeline();
  for (let number = 0; number < 1000; number += 1) {
    pipeline.set(`p:${number}`, number).get(`p:${number}`);
  }
  const replies = await pipeline.exec();
  replies.forEach(([error, reply], index) => {
    assert.equal(error, null);
    assert.equal(reply, index % 2 ? String((index - 1) / 2) : "OK");
  });
  // Everything at once, without a pipeline of one's own.
  const sums = await Promise.all(Array.from({ length: 500 }, () => redis.incr("counter")));
  assert.deepEqual(sums, Array.from({ length: 500 }, (_, index) => index + 1));
}

async function transactions(redis) {
  await redis.mset("from", 100, "to", 0);
  const replies = await redis.multi().decrby("from", 30).incrby("to", 30).mget("from", "to").exec();
  assert.deepEqual(replies, [[null, 70], [null, 30], [null, ["70", "30"]]]);
  await redis.watch("from");
  const other = redis.duplicate();
  await other.set("from", 1);
  await other.quit();
  assert.equal(await redis.multi().set("from", 2).exec(), null);
  assert.equal(await redis.get("from"), "1");
  await assert.rejects(redis.call("NOSUCHCOMMAND"), /unknown command/);
}

async function pubsub(redis) {
  const subscriber = redis.duplicate();
  const received = [];
  const both = new Promise((resolve) => {
    const note = (...message) => {
      received.push(message.join(" "));
      if (received.length === 2) resolve();
    };
    subscriber.on("message", note);
    subscriber.on("pmessage", note);
  });
  assert.equal(await subscriber.subscribe("news"), 1);
  assert.equal(await subscriber.psubscribe("n*"), 2);
  assert.equal(await redis.publish("news", "hello"), 2);
  await both;
  assert.deepEqual(received.sort(), ["n* news hello", "news hello"]);
  await subscriber.unsubscribe("news");
  await subscriber.punsubscribe("n*");
  await subscriber.quit();
}

async function scanning(redis) {
  const found = new Set();
  for await (const keys of redis.scanStream({ match: "p:*", count: 50 })) {
    keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 1000);
  assert.match(await redis.info("server"), /redis_version:/);
}

async function main() {
  const redis = new Redis({ port, commandTimeout: 20_000, maxRetriesPerRequest: 1 });
  redis.on("error", (error) => console.error(error));
  await redis.flushall();
  for (const test of [strings, pipelines, transactions, pubsub, scanning]) {
    await test(redis);
  }
  assert.equal(await redis.quit(), "OK");
  console.log("all passed");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
