// What the public parser says of a document, as JSON: its version and every error.
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "node:fs";

const ERROR = 0;
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const errors = diagnostics.filter((found) => found.severity === ERROR);
console.log(
  JSON.stringify({
    version: document?.version(),
    channels: document?.channels().all().map((channel) => channel.address()),
    messages: document?.allMessages().all().map((message) => message.name()),
    errors: errors.map((found) => `${found.path.join(".")}: ${found.message}`),
  }),
);
