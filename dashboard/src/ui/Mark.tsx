import type { ReactNode } from "react";
import type { Icon, Look } from "../view/words";

const SHAPES: Record<Icon, ReactNode> = {
  ring: <circle cx="8" cy="8" r="5.25" />,
  dashed: <circle cx="8" cy="8" r="5.25" strokeDasharray="2.6 2.2" />,
  play: (
    <>
      <circle cx="8" cy="8" r="5.75" className="faint" />
      <path className="turning" d="M8 2.25A5.75 5.75 0 0 1 13.75 8" />
      <circle cx="8" cy="8" r="2" className="solid" />
    </>
  ),
  check: (
    <>
      <circle cx="8" cy="8" r="6.25" className="solid" />
      <path className="cut" d="m5.3 8.2 1.9 1.9 3.6-4" />
    </>
  ),
  cross: (
    <>
      <circle cx="8" cy="8" r="6.25" className="solid" />
      <path className="cut" d="m5.9 5.9 4.2 4.2m0-4.2-4.2 4.2" />
    </>
  ),
  slash: (
    <>
      <circle cx="8" cy="8" r="5.5" />
      <path d="m4.2 11.8 7.6-7.6" />
    </>
  ),
  pause: (
    <>
      <circle cx="8" cy="8" r="6.25" className="solid" />
      <path className="cut" d="M6.4 5.6v4.8m3.2-4.8v4.8" />
    </>
  ),
  arrow: (
    <>
      <circle cx="8" cy="8" r="5.75" />
      <path d="M5.4 8h5m-2-2.2L10.6 8l-2.2 2.2" />
    </>
  ),
  stop: (
    <>
      <path className="solid" d="M5.4 1.9h5.2l3.5 3.5v5.2l-3.5 3.5H5.4l-3.5-3.5V5.4z" />
      <path className="cut" d="M5.2 8h5.6" />
    </>
  ),
  hourglass: <path d="M4 2.2h8M4 13.8h8M5 2.4c0 3 3 3.9 3 5.6s-3 2.6-3 5.6m6-11.2c0 3-3 3.9-3 5.6s3 2.6 3 5.6" />,
  skip: <path d="m3.5 4 4 4-4 4m4.5-8 4 4-4 4m4.8-8.4v8.8" />,
  warning: (
    <>
      <path className="solid" d="M8 1.7 14.8 13.6H1.2z" />
      <path className="cut" d="M8 6v3.4m0 2v.1" />
    </>
  ),
  wave: <path d="M1.5 6.2c2.2-2.6 4.3-2.6 6.5 0s4.3 2.6 6.5 0M1.5 11c2.2-2.6 4.3-2.6 6.5 0s4.3 2.6 6.5 0" />,
  box: <path d="M2.5 3h11v3h-11zm1 3v7h9V6M6.5 8.6h3" />,
};

export function Glyph({ icon }: { icon: Icon }) {
  return (
    <svg className={`glyph glyph-${icon}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {SHAPES[icon]}
    </svg>
  );
}

/** A status: icon, word and tone together. */
export function Mark({ look, quiet = false }: { look: Look; quiet?: boolean }) {
  return (
    <span className={`mark tone-${look.tone}${quiet ? " quiet" : ""}`}>
      <Glyph icon={look.icon} />
      <span>{look.word}</span>
    </span>
  );
}
