"""Texts that try to get out of the page they are shown on."""

HOSTILE = {
    "tags": "<b onmouseover=alert(1)>bold</b> <img src=x onerror=alert(1)>",
    "quotes": "\"double\" 'single' `back` &amp; &#39; &",
    "end of a script": "</script><script>alert(1)</script><!-- <!--<script>",
    "end of a style": "</style></textarea></title><svg/onload=alert(1)>",
    "right to left": "שלום עולם \u202eabc\u202c مرحبا \u2066x\u2069",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 é e\u0301",
    "lone surrogates": "a\ud800b\udfffc \ud83d\ude00",
    "control characters": "\x00\x01\x07\x1b[31mred\x7f\x80\x9f\ufeff\u2028\u2029\ufffe",
    "blanks": "  a\t\tb\r\n\n c\u00a0d\u3000e ",
    "scripts": "中文字 ไทย 한국어 हिन्दी Ελληνικά",
    "templates": "${alert(1)} {{x}} {% y %} %s {0} \\u003c \\",
    "combining": "Z" + "\u0301" * 40,
    "empty": "",
    "one blank": " ",
}
