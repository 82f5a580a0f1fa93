/** The states that every list has besides being full: loading, failed, empty. */

import { type ReactNode, useState } from "react";
import type { SourceState } from "../live/sources";
import { clockTime } from "../view/format";
import { Glyph } from "./Mark";

interface FailureProps {
  what: string;
  source: SourceState;
  onRetry: () => void;
}

/** What does not answer, since when, and a way to ask again. With data on the page it is a line above it. */
export function Failure({ what, source, onRetry }: FailureProps) {
  if (source.failedSince === null) return null;
  const kept = source.loaded && source.asOf !== null ? ` What you see was read at ${clockTime(source.asOf)}.` : "";
  return (
    <div className={source.loaded ? "failure line" : "failure"} role="alert">
      <span className="tone-vermillion">
        <Glyph icon="warning" />
      </span>
      <p>
        <strong>{what}</strong> {source.problem} since {clockTime(source.failedSince)}.{kept}
      </p>
      <button type="button" onClick={onRetry} disabled={source.loading}>
        {source.loading ? "Asking…" : "Retry"}
      </button>
    </div>
  );
}

export function Loading({ rows, label }: { rows: number; label: string }) {
  return (
    <div className="loading" role="status" aria-label={label}>
      {Array.from({ length: rows }, (_, index) => (
        <div key={index} className="bone" />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => {
    navigator.clipboard.writeText(text).then(
      () => setCopied(true),
      () => undefined, // Without the permission the text can still be selected.
    );
  };
  return (
    <p className="command">
      <code>{text}</code>
      <button type="button" onClick={copy} aria-label={`Copy ${text}`}>
        {copied ? "Copied" : "Copy"}
      </button>
    </p>
  );
}
