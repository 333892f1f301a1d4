#!/bin/bash
# Makes the pictures of mails in docs/images anew, with Chromium: each as a phone shows it, beside a window of 700 pixels.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

command -v chromium >/dev/null || install_packages Chromium chromium
pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
SENSORHIVE_TEST_PAGES=$pages cargo test --locked --test mail -- --exact pictures::pages_for_a_browser
mkdir -p docs/images

browse() {
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --allow-file-access-from-files \
        --virtual-time-budget=5000 "$@" "file://$pages/frames.html" 2>/dev/null
}

# frames PAGE HEIGHT: a page with both, whose title is how high the higher one would be.
frames() {
    cat >"$pages/frames.html" <<END
<html><head><title></title></head><body style="margin:0;display:flex;gap:12px;align-items:flex-start">
<iframe src="$1" style="border:0;width:375px;height:$2px"></iframe>
<iframe src="$1" style="border:0;width:700px;height:$2px"></iframe>
<script>
onload = () => {
  const height = (frame) => frame.document.documentElement.scrollHeight;
  document.title = Math.max(height(frames[0]), height(frames[1]));
};
</script></body></html>
END
}

for mail in ${MAILS:-alarm resolved}; do
    frames "mail-$mail.html" 10
    height=$(browse --dump-dom | sed -n 's/.*<title>\([0-9]*\)<.*/\1/p')
    frames "mail-$mail.html" "$height"
    browse --window-size="1087,$height" --screenshot="$PWD/docs/images/mail-$mail.png"
done
