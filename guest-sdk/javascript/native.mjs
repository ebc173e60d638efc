// Gives a rule that runs in Node.js, as in a test, the host that it imports: log lines go to stderr.
import { register } from "node:module";

const host = "export const log = (level, message) => console.error(`${level}: ${message}`);";

const hooks = `
export function resolve(name, context, next) {
  if (!name.startsWith("postern:rule/host@")) return next(name, context);
  return { url: ${JSON.stringify(`data:text/javascript,${encodeURIComponent(host)}`)}, shortCircuit: true };
}`;

register(`data:text/javascript,${encodeURIComponent(hooks)}`);
