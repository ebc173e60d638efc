// What a rule may ask of the host, as a module that the build knows.

declare module "postern:rule/host@0.2.0" {
  /** How much a log line matters. */
  export type Level = "error" | "warn" | "info" | "debug";

  /** Writes a line to the daemon's log, tagged with the rule. */
  export function log(level: Level, message: string): void;
}
